"""Indexes a split of a dataset of ours from its `index/*.parquet`, without opening a shard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from shardforge.errors import DatasetError
from shardforge.loader.index.rows import NO_LABEL, ShardRows, hash_keys, make_extent

_OFFSET = "_offset"


def read_rows(path: Path, row_groups: list[int]) -> Iterator[ShardRows]:
    """Yield the rows of shards, each a row group of the index at `path`.

    Raises:
        DatasetError: the file is missing or not an index.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            extensions = [name.removesuffix(_OFFSET) for name in names if name.endswith(_OFFSET)]
            for row_group in row_groups:
                table = file.read_row_group(row_group)
                members = {
                    extension: make_extent(
                        str(path), table[extension + _OFFSET].to_numpy(), table[f"{extension}_size"].to_numpy()
                    )
                    for extension in extensions
                }
                labels = table["label"].fill_null(NO_LABEL).to_numpy().astype(np.int32)
                yield ShardRows(hash_keys(table["key"].to_pylist()), labels, members)
    except (OSError, KeyError, IndexError, ValueError) as error:  # pyarrow's own errors are among them
        raise DatasetError(f"{path}: is no index of shards ({error}); restore it with `shardforge verify`") from error
