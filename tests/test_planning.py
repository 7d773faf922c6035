"""Cutting a split into shards, and the shards into parts for several machines."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardforge.dataset.budget import Budget
from shardforge.dataset.images import ImageProbe
from shardforge.dataset.options import WriteOptions
from shardforge.dataset.plan import SCHEMA, Plan, PlannedShard
from shardforge.dataset.planning import _digest, cut_shards
from shardforge.dataset.write import _threads_per_shard, select_shards
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
    options = options_of(most_samples, most_bytes)
    batches = (table.slice(start, batch) for start in range(0, len(sizes), batch))
    shards = list(cut_shards(batches, len(sizes), options))
    assert pa.concat_tables(shards)["number"].to_pylist() == list(range(len(sizes)))
    assert all(0 < shard.num_rows <= most_samples for shard in shards)
    assert all(shard.num_rows == 1 or sum(shard["bytes"].to_pylist()) <= most_bytes for shard in shards)
    if most_bytes > sum(sizes) + 4_000 * len(sizes):
        lengths = [shard.num_rows for shard in shards]
        assert len(lengths) == -(-len(sizes) // most_samples)
        assert max(lengths) == lengths[0]


def options_of(shard_samples: int, shard_bytes: int) -> WriteOptions:
    conversion = Conversion(size=None, resize="none")
    return WriteOptions("x", conversion, members=(), shard_samples=shard_samples, shard_bytes=shard_bytes)


@pytest.mark.parametrize(
    ("sizes", "most_samples", "most_bytes", "lengths"),
    [
        ([0] * 10, 4, 10**9, [4, 4, 2]),
        ([0] * 8, 4, 10**9, [4, 4]),
        ([0] * 9, 4, 10**9, [3, 3, 3]),
        ([0], 4, 1, [1]),
        ([1000] * 5, 9, 12_000, [3, 2]),  # 3,000 more for each sample's texts and headers
        ([1000] * 5, 9, 11_999, [2, 2, 1]),
        ([1000, 50_000, 1000, 1000], 9, 12_000, [1, 1, 2]),
        ([1000] * 6, 2, 12_000, [2, 2, 2]),
    ],
)
@pytest.mark.parametrize("batch", [1, 3, 99])
def test_shards_of_a_split(
    sizes: list[int], most_samples: int, most_bytes: int, lengths: list[int], batch: int
) -> None:
    table = pa.table({"bytes": sizes})
    batches = (table.slice(start, batch) for start in range(0, len(sizes), batch))
    shards = cut_shards(batches, len(sizes), options_of(most_samples, most_bytes))
    assert [shard.num_rows for shard in shards] == lengths


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"quality": 1}, 1.2),
        ({"quality": 75}, 1.2),
        ({"quality": 76}, 1.7),
        ({"quality": 90}, 2.2),
        ({"quality": 95}, 3.2),
        ({"quality": 100}, 6.0),
        ({"format": "png"}, 14.0),
        ({"format": "webp", "quality": 100}, 1.3),
    ],
)
def test_bytes_are_foreseen_by_format_and_quality(options: dict[str, Any], size: float) -> None:
    """Bits of a pixel; other numbers would cut the same records into other shards."""
    conversion = Conversion(size=(100, 80), **options)
    limit = 2 * (round(100 * 80 * size / 8) + 3000)
    for shard_bytes, lengths in ((limit, [2, 2]), (limit - 1, [1] * 4)):
        wanted = WriteOptions("x", conversion, members=(), shard_bytes=shard_bytes)
        shards = cut_shards(iter([pa.table({"bytes": [10**9] * 4})]), 4, wanted)
        assert [shard.num_rows for shard in shards] == lengths


def plan_of(count: int) -> Plan:
    return Plan(options_of(1, 1), "", {}, None, [PlannedShard("train", i, f"{i}.tar", i, 1, "") for i in range(count)])


def test_a_plan_is_known_by_its_options_classes_and_shards() -> None:
    plan = replace(plan_of(2), classes=["a"])
    about = json.dumps([SCHEMA, plan.options.to_json(), ["a"]], sort_keys=True)
    assert plan.sha256 == hashlib.sha256(f"{about}0.tar:\n1.tar:\n".encode()).hexdigest()
    assert (plan.num_samples, plan.splits) == (2, ["train"])


def test_options_are_the_same_after_json() -> None:
    options = WriteOptions(
        name="x",
        conversion=Conversion(size=(30, 20), resize="crop", upscale=True, format="webp", quality=7, passthrough=True),
        splits=("train", "test"),
        split_run="run",
        seed=-3,
        label="order",
        unlabelled="keep",
        members=("json", "cls"),
        caption="sci",
        texts=("sci", "com"),
        encoder={"pillow": "1"},
        shard_samples=3,
        shard_bytes=4,
    )
    assert WriteOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert WriteOptions.from_json(options_of(1, 2).to_json()) == options_of(1, 2)


@pytest.mark.parametrize(
    "column",
    [
        *("label", "group_id", "kingdom", "phylum", "class", "order", "family", "genus", "species"),
        *("common_name", "license", "author", "url", "path", "source"),
    ],
)
def test_columns_that_can_be_label_and_member(column: str) -> None:
    options = replace(options_of(1, 1), label=column, members=(f"{column}.txt", "cls", "json"))
    assert options.extensions == ("jpg", f"{column}.txt", "cls", "json")
    assert options.extensions_of("pretrain") == ("jpg", f"{column}.txt", "json")


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


@pytest.mark.parametrize(
    ("workers", "shards", "threads"),
    [(0, 1, 1), (1, 16, 1), (1, 15, 2), (2, 32, 1), (2, 31, 2), (8, 0, 8), (8, 1, 8), (8, 3, 3), (8, 4, 2), (8, 9, 2)],
)
def test_few_shards_share_all_cores(workers: int, shards: int, threads: int) -> None:
    assert _threads_per_shard(workers, shards) == threads


@pytest.mark.parametrize(
    ("budget", "planned", "limit"),
    [
        (Budget(), 0, 9),
        (Budget(), 999, 9),
        (Budget(), 1_000, 10),
        (Budget(), 123_456, 1_234),
        (Budget(share=0.5), 21, 10),
        (Budget(share=1.0), 50, 50),
        (Budget(share=0.0), 1_000_000, 9),
        (Budget(share=None, count=0), 1_000_000, 0),
        (Budget(count=3), 1_000_000, 3),
    ],
)
def test_a_budget_is_a_share_of_the_plan_or_a_number(budget: Budget, planned: int, limit: int) -> None:
    assert budget.limit(planned) == limit


RECORDS = {
    "key": ["k1", "k2", "k3", "k4"],
    "path": ["a/b", "a/", "", None],
    "content_hash": ["00", "01", None, "03"],
    "class_index": [1, None, 0, 2],
    "bytes": [10, 0, 7, 2**40],
    "mtime": [1, 2, 3, 4],
    "offset": [512, None, 0, 7],
    "class_name": ["a", "b", "c", "d"],
}
OTHERS = {"k1": "k0", "k2": "k0", "k3": "k0", "k4": "k0", "a/b": "a/c", "a/": "b/", "00": "10", "01": "11", "03": "13"}


def digest(records: dict[str, list[Any]], cuts: tuple[int, ...] = (), **options: Any) -> str:
    """Return the digest of a shard whose table comes in chunks."""
    table = pa.table(records)
    parts = [table.slice(start, stop - start) for start, stop in pairwise((0, *cuts, table.num_rows))]
    return _digest(pa.concat_tables(parts), "train", replace(options_of(9, 10**6), **options))


def test_a_shards_digest_changes_with_each_value_that_is_written() -> None:
    known = digest(RECORDS)
    assert known == digest(RECORDS, (1,)) == digest(RECORDS, (1, 2, 3)) == digest(RECORDS, (2, 2))
    for column, row in product(RECORDS, range(4)):
        value = RECORDS[column][row]
        for other in (None, OTHERS.get(value, "x") if isinstance(RECORDS[column][0], str) else (value or 0) + 1):
            values = [*RECORDS[column][:row], other, *RECORDS[column][row + 1 :]]
            # The time tells whether a file changed where no hash of its content does.
            ignored = column in ("offset", "class_name") or (column == "mtime" and row != 2) or other == value
            assert (digest(RECORDS | {column: values}) == known) == ignored, (column, row, other)
    assert digest(RECORDS | {"path": ["a/", "ba/", "", None]}) != known
    assert digest(RECORDS | {"path": ["a/b", "a/", None, ""]}) != known
    assert digest(RECORDS, members=("json",)) != known
    assert digest(RECORDS, conversion=Conversion(size=(64, 64))) != known


def test_a_part_of_a_part_of_a_probe_counts_from_its_begin() -> None:
    probe = ImageProbe("out", 7, 10, 30)
    assert (len(probe), probe.part(0, 20)) == (20, probe)
    assert probe.part(4, 9) == ImageProbe("out", 7, 14, 19)
    assert probe.part(4, 9).part(1, 3) == ImageProbe("out", 7, 15, 17)
