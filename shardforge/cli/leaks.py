"""`shardforge leaks`: compare a mapping with other data on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardforge.cli.duplicates import warn_unsearched
from shardforge.cli.options import (
    LocalPath,
    count_of,
    db_option,
    distance_option,
    executor_options,
    json_option,
    print_json,
    print_table,
    trust_option,
)
from shardforge.paths import require_local
from shardforge.progress import Progress
from shardforge.reasons import MEANING

if TYPE_CHECKING:
    from shardforge.duplicates.leaks import Leaks
    from shardforge.sources import SourceSpec

_MANIFEST = "_info.json"


@click.command("leaks", short_help="Find images that other data holds, too, such as a test set.")
@db_option
@click.option(
    "--against",
    multiple=True,
    required=True,
    metavar="DIR_OR_INFO",
    help="Other data: a folder of images or tars, an _info.json, a tar, or 'test-{000..031}.tar'. Repeatable.",
)
@trust_option
@distance_option
@click.option("--split-run", default="default", show_default=True, help="Split run to name, if there is one.")
@click.option(
    "--report",
    type=LocalPath(file_okay=False),
    help="Folder for leaks.csv, which `split --exclude` takes, and leaks.png, pairs side by side.",
)
@executor_options
@json_option
def leaks_command(
    db: Path,
    against: tuple[str, ...],
    trust: bool,
    distance: int,
    split_run: str,
    report: Path | None,
    executor: str,
    workers: int | None,
    ray_address: str | None,
    as_json: bool,
) -> None:
    """Find images of a mapping that other data holds, too, such as the test set of a benchmark: the same bytes, or the
    same picture encoded again or resized.

    \b
    shardforge leaks --db mapping.duckdb --against benchmark/test --report leaks
    shardforge split --db mapping.duckdb --seed 17 --val-split 5 --exclude leaks/leaks.csv

    Images that an exclusion list already keeps out do not count. Exit status: 0 nothing leaks, 1 something does.
    """
    from shardforge.duplicates.collection import read_collection
    from shardforge.duplicates.leak_report import write_leaks
    from shardforge.duplicates.leaks import find_leaks
    from shardforge.duplicates.store import count_unsearched, hash_contents
    from shardforge.executors import open_executor
    from shardforge.mapping import open_mapping

    places = [(name, _find_sources(name, trust=trust)) for name in against]
    with Progress(quiet=as_json) as progress, open_mapping(db, write=True) as mapping:
        with open_executor(executor, workers, preload=("shardforge.duplicates.hashing",), address=ray_address) as pool:
            collections = [read_collection(name, sources, pool, progress=progress) for name, sources in places]
            hash_contents(mapping, pool, progress=progress)
        found = [
            find_leaks(mapping, collection, distance=distance, split_run=split_run, progress=progress)
            for collection in collections
        ]
        unsearched = count_unsearched(mapping)
        if report is not None:
            write_leaks(mapping, found, report)
    if as_json:
        print_json({"distance": distance, "against": [_to_json(leaks) for leaks in found], "unsearched": unsearched})
    else:
        _print_report(found, report)
        warn_unsearched(unsearched)
    if any(leaks.open.num_rows for leaks in found):
        click.get_current_context().exit(1)


def _find_sources(location: str, *, trust: bool) -> list[SourceSpec]:
    """Return what to list for `--against`; a dataset's manifest names its tars."""
    from shardforge.dataset.manifest import read_manifest
    from shardforge.duplicates.collection import find_sources, tar_sources

    require_local(location, "--against")
    path = Path(location)
    manifest = path / _MANIFEST if path.is_dir() else path
    if manifest.suffix == ".json" and manifest.exists():
        root = manifest.absolute().parent
        return tar_sources([root / shard.path for shard in read_manifest(manifest, trust=trust).shards])
    return find_sources(path)


def _to_json(leaks: Leaks) -> dict[str, Any]:
    return {
        "against": leaks.collection.name,
        "images": leaks.collection.rows.num_rows,
        "failed": dict(leaks.collection.failed),
        "low_quality": leaks.low_quality,
        "exact": leaks.exact,
        "near": leaks.near,
        "leaking_images": leaks.open.num_rows,
        "excluded_images": leaks.rows.num_rows - leaks.open.num_rows,
    }


def _print_report(found: Sequence[Leaks], report: Path | None) -> None:
    header = ("against", "images", "exact", "near", "leaking from the mapping", "excluded already")
    rows = [_to_json(leaks) for leaks in found]
    columns = ("against", "images", "exact", "near", "leaking_images", "excluded_images")
    print_table(header, [[row[column] for column in columns] for row in rows])
    for row in rows:
        if row["low_quality"]:
            images = count_of(row["low_quality"], "image shows", "images show")
            click.echo(f"Warning: {row['against']}: {images} too little to be compared by picture", err=True)
        for reason, count in row["failed"].items():
            files = count_of(count, "file", "files")
            click.echo(f"Warning: {row['against']}: {files} not compared, {reason}: {MEANING[reason]}", err=True)
    if report is not None:
        sheet = f" and {report}/leaks.png" if any(leaks.open.num_rows for leaks in found) else ""
        click.echo(f"Pairs in {report}/leaks.csv (for split --exclude){sheet}", err=True)
