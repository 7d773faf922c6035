"""Indexes a split of a dataset of ours from its `index/*.parquet`, without opening a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from shardforge.errors import DatasetError
from shardforge.loader.index.rows import NO_LABEL, ShardRows, make_extent
from shardforge.loader.network import Retries, describe_file, hide_credentials
from shardforge.loader.places import is_remote
from shardforge.loader.ranges import read_pieces
from shardforge.loader.shards import Shard
from shardforge.parquet import ParquetTable
from shardforge.samples import hash_keys
from shardforge.tarfiles import BLOCK

_OFFSET, _SIZE, _CRC = "_offset", "_size", "_crc32"  # null for a sample without the member


def read_rows(place: str, shards: Sequence[Shard]) -> Iterator[ShardRows]:
    """Yield the rows of shards, each a row group of the index at `place`, a path or URL.

    Raises:
        DatasetError: the file is missing, not an index, or that of other shards.
    """
    name = hide_credentials(place)
    try:
        with ParquetTable(_download(place) if is_remote(place) else place) as file:
            columns = file.schema.names
            extensions = [column.removesuffix(_OFFSET) for column in columns if column.endswith(_OFFSET)]
            for shard in shards:
                assert shard.row_group is not None  # or this index is not read
                table = file.read(shard.row_group)
                members = {
                    extension: make_extent(
                        name, *(table[extension + part].fill_null(0).to_numpy() for part in (_OFFSET, _SIZE, _CRC))
                    )
                    for extension in extensions
                }
                labels = table["label"].fill_null(NO_LABEL).to_numpy().astype(np.int32)
                rows = ShardRows(hash_keys(table["key"].to_pylist()), labels, members)
                _check_rows(name, rows, shard)
                yield rows
    except (OSError, LookupError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        # pyarrow's own errors are among them
        raise DatasetError(f"{name}: is no index of shards ({error}); restore it with `shardforge verify`") from error


def _check_rows(place: str, rows: ShardRows, shard: Shard) -> None:
    """Refuse an index of another dataset: its rows are more or fewer, or lie beyond the shard's end."""
    ends = [extent.blocks.astype(np.int64) * BLOCK + extent.sizes for extent in rows.members.values()]
    end = max((int(part.max(initial=0)) for part in ends), default=0)
    if len(rows.labels) not in (shard.samples, None) or end > (shard.bytes or end):
        raise DatasetError(
            f"{place}: has {len(rows.labels):,} samples up to byte {end:,} for {hide_credentials(shard.url)}, but the "
            f"manifest says {shard.samples} in {shard.bytes} bytes; restore it with `shardforge verify --repair`"
        )


def _download(url: str) -> pa.BufferReader:
    """Hold a remote index in memory: it is read once, and what is made of it is kept."""
    retries = Retries()
    return pa.BufferReader(b"".join(read_pieces(url, describe_file(url, retries)["size"], retries)))
