"""Verify the index of each split: it can be read, is as long as the manifest says, and holds what the plan says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pyarrow as pa

from shardforge.dataset.index import build_index
from shardforge.dataset.layout import Layout
from shardforge.dataset.manifest import Manifest
from shardforge.dataset.plan import Plan
from shardforge.dataset.receipt import Receipt
from shardforge.parquet import ParquetTable
from shardforge.verify.problems import Problem


def check_index(layout: Layout, manifest: Manifest) -> Iterator[Problem]:
    """Compare the rows of each split's index with the manifest's numbers of samples; look for keys that occur twice."""
    for split, file in manifest.ours.get("index", {}).items():
        lengths = [entry.samples for entry in manifest.shards if entry.split == split]
        try:
            with ParquetTable(layout.out / file) as index:
                found = index.lengths
                parts = [index.read(group, ["key"])["key"] for group in range(len(found))]
                keys = pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.string())
        except FileNotFoundError:
            yield Problem("index_missing", file, shard=False)
            continue
        except (OSError, pa.ArrowException, LookupError, TypeError) as error:
            yield Problem("index_value", file, found=str(error), shard=False)
            continue
        if found != lengths:
            yield Problem("index_value", file, "", f"{sum(lengths)} samples", f"{sum(found)}", shard=False)
        twice = len(keys) - len(keys.unique())
        if twice:
            yield Problem("key_twice", file, found=f"{twice} keys more than once", shard=False)


def compare_index(
    layout: Layout, plan: Plan, receipts: list[Receipt], *, known: Sequence[Problem]
) -> Iterator[Problem]:
    """Compare each split's index, value by value, with plan and receipts; name the first difference in each shard.

    Files that cannot be read are among the `known` problems, or are found here.
    """
    finished = list(zip(plan.shards, receipts, strict=True))
    for split in plan.splits:
        file = os.path.relpath(layout.index(split), layout.out)
        try:
            index = ParquetTable(layout.index(split))
        except (OSError, pa.ArrowException):
            continue
        with index:
            damage: list[str] = []
            for group, pair in enumerate(pair for pair in finished if pair[0].split == split):
                expected = build_index(*pair, layout.plan)
                try:
                    found = index.read(group)
                except (OSError, pa.ArrowException, LookupError) as error:
                    damage.append(str(error))
                else:
                    if not found.equals(expected):
                        yield _first_difference(file, expected, found)
        if damage and not any(problem.file == file for problem in known):
            yield Problem("index_value", file, found=damage[0], shard=False)


def _first_difference(file: str, expected: pa.Table, found: pa.Table) -> Problem:
    for name in expected.column_names:
        if name not in found.column_names:
            return Problem("index_value", file, name, "a column", "none", shard=False)
        pairs = zip(expected["key"], expected[name], found[name], strict=False)
        for key, one, other in pairs:
            if one != other:
                return Problem("index_value", file, f"{name} of {key}", str(one), str(other), shard=False)
    names = ", ".join(expected.column_names)
    return Problem("index_value", file, "", f"the columns {names}", ", ".join(found.column_names), shard=False)
