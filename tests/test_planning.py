"""Cutting a split into shards, and the shards into parts for several machines."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardforge.dataset.options import WriteOptions
from shardforge.dataset.plan import Plan, PlannedShard
from shardforge.dataset.planning import cut_shards
from shardforge.dataset.write import select_shards
from shardforge.errors import UsageError
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


def plan_of(count: int) -> Plan:
    options = WriteOptions(name="x", conversion=Conversion(size=None, resize="none"), members=())
    return Plan(options, "", {}, None, [PlannedShard("train", i, f"{i}.tar", i, 1, "") for i in range(count)])


@given(count=st.integers(1, 60), parts=st.integers(1, 70))
def test_parts_are_disjoint_complete_and_alike(count: int, parts: int) -> None:
    plan = plan_of(count)
    chosen = [select_shards(plan, f"{part}/{parts}") for part in range(1, parts + 1)]
    assert [shard for part in chosen for shard in part] == plan.shards
    assert max(map(len, chosen)) - min(map(len, chosen)) <= 1


@given(count=st.integers(1, 30), data=st.data())
def test_a_range_of_shards_holds_both_ends(count: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first, count - 1))
    chosen = select_shards(plan_of(count), f"{first}-{last}")
    assert [shard.row_group for shard in chosen] == list(range(first, last + 1))


@pytest.mark.parametrize(
    "part", ["x", "", "5-2", "0-10", "10-10", "-1-3", "3/2", "0/2", "1/0", "1/2/3", "1-2-3", "1.5-2"]
)
def test_parts_that_there_are_not_are_refused(part: str) -> None:
    with pytest.raises(UsageError, match=f"--shards {part}: (expected A-B|the plan has shards 0 to 9)"):
        select_shards(plan_of(10), part)
