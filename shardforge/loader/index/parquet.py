"""Indexes a split of a dataset of ours from its `index/*.parquet`, without opening a shard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shardforge.errors import DatasetError
from shardforge.loader.index.rows import NO_LABEL, ShardRows, hash_keys, make_extent
from shardforge.loader.network import Retries, describe_file, hide_credentials
from shardforge.loader.places import is_remote
from shardforge.loader.ranges import read_pieces

_OFFSET, _SIZE = "_offset", "_size"  # null for a sample without the member


def read_rows(place: str, row_groups: list[int]) -> Iterator[ShardRows]:
    """Yield the rows of shards, each a row group of the index at `place`, a path or URL.

    Raises:
        DatasetError: the file is missing or not an index.
    """
    try:
        with pq.ParquetFile(_download(place) if is_remote(place) else place) as file:
            names = file.schema_arrow.names
            extensions = [name.removesuffix(_OFFSET) for name in names if name.endswith(_OFFSET)]
            for row_group in row_groups:
                table = file.read_row_group(row_group)
                members = {
                    extension: make_extent(
                        place, *(table[extension + part].fill_null(0).to_numpy() for part in (_OFFSET, _SIZE))
                    )
                    for extension in extensions
                }
                labels = table["label"].fill_null(NO_LABEL).to_numpy().astype(np.int32)
                yield ShardRows(hash_keys(table["key"].to_pylist()), labels, members)
    except (OSError, KeyError, IndexError, ValueError) as error:  # pyarrow's own errors are among them
        raise DatasetError(
            f"{hide_credentials(place)}: is no index of shards ({error}); restore it with `shardforge verify`"
        ) from error


def _download(url: str) -> pa.BufferReader:
    """Hold a remote index in memory: it is read once, and what is made of it is kept."""
    retries = Retries()
    return pa.BufferReader(b"".join(read_pieces(url, describe_file(url, retries)["size"], retries)))
