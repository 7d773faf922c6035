"""Plans: `shardforge.dataset.plan`. An input is a Parquet file, or the description that one holds, as JSON."""

from __future__ import annotations

import json
from random import Random
from types import SimpleNamespace

import pyarrow as pa
from fuzzing.target import Target, make_folder, parse_object, require, vary_json

from shardforge.dataset import plan as plans
from shardforge.dataset.options import WriteOptions
from shardforge.dataset.plan import Plan, PlannedShard, open_plan_writer, read_plan, read_planned_rows
from shardforge.errors import DatasetError
from shardforge.images.convert import Conversion

_PLACE = make_folder() / "plan.parquet"
_ROWS = pa.table({"key": ["a", "b", "é"], "source": ["s"] * 3, "path": ["1.jpg", None, "3.jpg"], "label": [0, 1, None]})
_KEY = b"shardforge"
_MAGIC = b"PAR1"
_OPEN = plans._open_plan


def make_seeds() -> list[bytes]:
    seeds = []
    for options in (
        WriteOptions("plants", Conversion(size=(64, 64)), ("train",), label="label", encoder={"pillow": "12"}),
        WriteOptions("plants", Conversion(colour="keep", format="png"), members=("json", "genus.txt"), caption=None),
    ):
        shards = [
            PlannedShard("train", number, f"train/plants-train-{number:06}.tar", number, 3, "d" * 64)
            for number in range(2)
        ]
        with open_plan_writer(_PLACE) as writer:
            for _ in shards:
                writer.write(_ROWS)
            writer.describe(Plan(options, "0.2.0", {"s": "/data"}, ["x", "y"], shards))
        plans._cached_plan.cache_clear()
        require(read_plan(_PLACE).num_samples == 6, "a plan cannot be read")
        seeds += [_PLACE.read_bytes(), plans._open_plan(_PLACE).metadata[_KEY]]
    return seeds


def vary(data: bytes, random: Random) -> bytes:
    """Return a description with another value somewhere."""
    stored = parse_object(data)
    return data if stored is None else json.dumps(vary_json(stored, random)).encode()


def check(data: bytes) -> None:
    plans._cached_plan.cache_clear()
    if data.startswith(_MAGIC):
        _PLACE.write_bytes(data)
        plans._open_plan = _OPEN
    else:  # writing it would take most of the time
        plans._open_plan = lambda _: SimpleNamespace(metadata={_KEY: data}, lengths=[3, 3], read=lambda *_: _ROWS)
    try:
        plan = read_plan(_PLACE)
    except DatasetError:
        return
    require(WriteOptions.from_json(plan.options.to_json()) == plan.options, "written anew its options are others")
    require(len(plan.sha256) == 64 and len(plan.splits) <= len(plan.shards), plan)
    for shard in plan.shards[:4]:
        try:
            rows = read_planned_rows(_PLACE, shard.row_group)
        except DatasetError:
            continue
        require(rows.num_rows == shard.samples, "other rows than are planned")
        require(rows.equals(_ROWS), "other rows than were written")


TARGET = Target(make_seeds, check, vary=vary, most=1 << 13)
