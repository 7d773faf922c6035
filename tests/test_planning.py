"""Cutting a split into shards."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from shardforge.dataset.options import WriteOptions
from shardforge.dataset.planning import cut_shards
from shardforge.images.convert import Conversion


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 50_000), min_size=1, max_size=200),
    batch=st.integers(1, 70),
    most_samples=st.integers(1, 60),
    most_bytes=st.integers(1_000, 400_000),
)
def test_every_record_is_in_one_shard_in_order(
    sizes: list[int], batch: int, most_samples: int, most_bytes: int
) -> None:
    table = pa.table({"number": range(len(sizes)), "bytes": sizes})
    options = WriteOptions(
        name="x",
        conversion=Conversion(size=None, resize="none"),
        members=(),
        shard_samples=most_samples,
        shard_bytes=most_bytes,
    )
    batches = (table.slice(start, batch) for start in range(0, len(sizes), batch))
    shards = list(cut_shards(batches, len(sizes), options))
    assert pa.concat_tables(shards)["number"].to_pylist() == list(range(len(sizes)))
    assert all(0 < shard.num_rows <= most_samples for shard in shards)
    assert all(shard.num_rows == 1 or sum(shard["bytes"].to_pylist()) <= most_bytes for shard in shards)
    if most_bytes > sum(sizes) + 4_000 * len(sizes):
        lengths = [shard.num_rows for shard in shards]
        assert len(lengths) == -(-len(sizes) // most_samples)
        assert max(lengths) == lengths[0]
