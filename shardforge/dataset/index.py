"""The index: where each member of each sample lies, one Parquet file a split, one row group a shard.

Columns: key, shard (number), position (in the shard), label (null without a class) and, for each member extension EXT
of the split, EXT_offset (first byte of the data in the tar), EXT_size and EXT_crc32, all null where a sample lacks
that member. Any Parquet reader reads it, DuckDB among them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from shardforge.dataset.plan import PlannedShard, read_planned_rows
from shardforge.dataset.receipt import Receipt
from shardforge.dataset.tarwriter import MISSING
from shardforge.files import atomic_write
from shardforge.parquet import write_parquet
from shardforge.tarfiles import BLOCK


def index_schema(extensions: Iterable[str]) -> pa.Schema:
    """Return the schema of the index of a split whose samples have these members."""
    fields = [("key", pa.string()), ("shard", pa.int32()), ("position", pa.int32()), ("label", pa.int32())]
    for extension in extensions:
        fields += [
            (f"{extension}_offset", pa.int64()),
            (f"{extension}_size", pa.int64()),
            (f"{extension}_crc32", pa.uint32()),
        ]
    return pa.schema(fields)


def build_index(shard: PlannedShard, receipt: Receipt, plan_path: Path) -> pa.Table:
    """Return the index of one shard, in the order of its samples, from its plan and receipt alone."""
    rows = read_planned_rows(plan_path, shard.row_group, ["key", "class_index"])
    if receipt.bad:
        written = [key not in receipt.bad for key in rows["key"].to_pylist()]
        rows = rows.filter(pa.array(written))
    extensions = tuple(receipt.sizes)
    columns = [
        rows["key"],
        np.full(receipt.samples, shard.number, np.int32),
        np.arange(receipt.samples, dtype=np.int32),
        rows["class_index"],
    ]
    sizes = np.array([receipt.sizes[name] for name in extensions], np.int64).reshape(len(extensions), receipt.samples)
    for extension, offsets, size in zip(extensions, _data_offsets(sizes), sizes, strict=True):
        missing = size == MISSING
        crcs = np.array(receipt.crcs[extension], np.uint32)
        columns += [pa.array(values, mask=missing) for values in (offsets, size, crcs)]
    return pa.table(columns, schema=index_schema(extensions))


def write_index(path: Path, shards: Iterable[pa.Table], schema: pa.Schema, scratch: Path) -> None:
    """Write the tables of a split's shards to `path`, one row group each, atomically."""
    with atomic_write(path, scratch=scratch) as file, write_parquet(file, schema) as writer:
        for table in shards:
            writer.write(table)


def _data_offsets(sizes: np.ndarray) -> np.ndarray:
    """Return the first data byte of each member, for sizes of shape [members, samples], members laid out in turn."""
    stored = np.where(sizes == MISSING, 0, BLOCK + sizes + -sizes % BLOCK)
    in_order = stored.T.reshape(-1)
    starts = np.cumsum(in_order) - in_order + BLOCK
    return np.asarray(starts.reshape(sizes.shape[1], sizes.shape[0]).T)
