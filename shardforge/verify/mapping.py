"""Reconcile a dataset with the mapping: what the mapping says was written is what the shards hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from shardforge.dataset.manifest import Manifest
from shardforge.mapping import Mapping
from shardforge.parquet import ParquetTable
from shardforge.reasons import ADVICE, MEANING, PASSING
from shardforge.splits.checks import INTEGRITY_CHECKS, check_mapping
from shardforge.verify.problems import Problem

#: Keys named in one kind of problem.
_MOST = 10


def verify_mapping(mapping: Mapping, manifest: Manifest) -> Iterator[Problem]:
    """Yield where the mapping is damaged (`sql/check_*.sql`), and where mapping and dataset disagree, key by key."""
    for check in check_mapping(mapping, INTEGRITY_CHECKS):
        if check.rows:
            found = f"{check.rows} rows, the first {check.first}"
            yield Problem("mapping_damaged", str(mapping.path), f"sql/{check.check}.sql", "no rows", found, shard=False)
    dataset = str(manifest.path.parent.resolve())
    known = mapping.rows("SELECT plan_sha256 FROM datasets WHERE out = $dataset", dataset=dataset)
    if not known:
        found = "no such dataset; if it was moved, run `shardforge write` with its new --out to record it"
        yield Problem("mapping_value", str(mapping.path), "", f"the dataset {dataset}", found, shard=False)
        return
    if known[0][0] != manifest.ours.get("plan_sha256"):
        yield Problem(
            "mapping_value", str(mapping.path), "plan_sha256", str(manifest.ours.get("plan_sha256")), known[0][0], False
        )
    try:
        _load_packed(mapping, manifest)
    except (OSError, pa.ArrowException, KeyError):
        return  # `check_index` says what is wrong with the index; without it the keys in the shards are unknown
    for code, name, expected in (
        ("mapping_missing", "select_packed_unknown", "a record"),
        ("mapping_unwritten", "select_written_unpacked", "a sample"),
        ("mapping_value", "select_packed_elsewhere", "the same shard and position"),
        ("mapping_value", "select_packed_excluded", "no sample: the record is excluded"),
    ):
        rows = mapping.rows(mapping.query(name), dataset=dataset)
        for (key,) in rows[:_MOST]:
            yield Problem(code, str(mapping.path), key, expected, shard=False)
        if len(rows) > _MOST:
            yield Problem(code, str(mapping.path), found=f"{len(rows)} keys in all", shard=False)
    yield from _compare_split(mapping, manifest)
    yield from _list_passing(mapping, dataset)


def _list_passing(mapping: Mapping, dataset: str) -> Iterator[Problem]:
    """Say which images are not in the shards for reasons that may have passed since."""
    for reason, images in mapping.rows(mapping.query("select_unwritten"), dataset=dataset):
        if reason in PASSING:
            found = f"{images:,} {reason}: {MEANING[reason]}; {ADVICE[reason]}"
            yield Problem("mapping_passing", str(mapping.path), "", "images in the shards", found, shard=False)


def _compare_split(mapping: Mapping, manifest: Manifest) -> Iterator[Problem]:
    """Say whether the split run that the dataset was written from was made anew since."""
    run = manifest.ours.get("options", {}).get("split_run")
    [(moved,)] = mapping.rows(mapping.query("select_packed_moved"), run=run)
    if moved:
        found = f"{moved:,} keys in other splits: the run changed since; write the dataset again with --replace"
        yield Problem("mapping_value", str(mapping.path), f"split run {run}", "the splits of the shards", found, False)


def _load_packed(mapping: Mapping, manifest: Manifest) -> None:
    """Fill the temporary table `packed` with what the index says is in the shards."""
    mapping.execute("DROP TABLE IF EXISTS packed")
    mapping.execute("CREATE TEMP TABLE packed (key VARCHAR, split VARCHAR, shard INTEGER, position INTEGER)")
    for split, file in manifest.ours.get("index", {}).items():
        place = Path(manifest.path.parent, file)
        with ParquetTable(place) as index:
            for group in range(len(index.lengths)):
                rows = index.read(group, ["key", "shard", "position"])
                mapping.insert("packed", rows.append_column("split", [[split] * rows.num_rows]))
