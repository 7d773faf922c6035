"""`shardforge duplicates`: find images that show the same picture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shardforge.cli.options import (
    LocalPath,
    count_of,
    db_option,
    distance_option,
    executor_options,
    json_option,
    print_json,
    print_table,
)
from shardforge.progress import Progress
from shardforge.reasons import MEANING

if TYPE_CHECKING:
    from shardforge.duplicates.report import DuplicateReport
    from shardforge.duplicates.store import Hashing

#: Of the content hash that names a cluster; `--json` has all.
_SHOWN_DIGITS = 16
_WHY = {
    "no_hash": "mapped with --no-hash; run `shardforge map` to read them",
    "not_hashed": "not read: their files are gone or changed; run `shardforge map`",
    "low_quality": "show too little, such as one colour, to be told apart",
}


@click.command("duplicates", short_help="Find images that show the same picture.")
@db_option
@distance_option
@click.option("--split-run", default="default", show_default=True, help="Split run to look across, if there is one.")
@click.option(
    "--report",
    type=LocalPath(file_okay=False),
    help="Folder for pairs.csv, the pairs found, and pairs.png, the worst side by side.",
)
@executor_options
@json_option
def duplicates_command(
    db: Path,
    distance: int,
    split_run: str,
    report: Path | None,
    executor: str,
    workers: int | None,
    ray_address: str | None,
    as_json: bool,
) -> None:
    """Find images of a mapping that show the same picture: with the same bytes, or encoded again, resized, brightened.

    \b
    shardforge duplicates --db mapping.duckdb --report duplicates
    shardforge split --db mapping.duckdb --seed 17 --val-split 5 --group-near-duplicates

    Reads each new image once and stores its perceptual hash; the clusters of near duplicates are stored, too, for
    `shardforge split --group-near-duplicates`.
    """
    from shardforge.duplicates.clusters import cluster_contents
    from shardforge.duplicates.report import count_duplicates, write_pairs
    from shardforge.duplicates.store import hash_contents
    from shardforge.executors import open_executor
    from shardforge.mapping import open_mapping

    with Progress(quiet=as_json) as progress, open_mapping(db, write=True) as mapping:
        with open_executor(executor, workers, preload=("shardforge.duplicates.hashing",), address=ray_address) as pool:
            hashing = hash_contents(mapping, pool, progress=progress)
        clusters = cluster_contents(mapping, distance=distance, progress=progress)
        found = count_duplicates(mapping, split_run)
        pairs = None if report is None else write_pairs(mapping, clusters, split_run, report)
    if as_json:
        print_json({"distance": distance, "hashing": asdict(hashing), **asdict(found), "pairs": pairs})
    else:
        _print_report(hashing, found)
        if report is not None:
            _print_place(pairs or 0, report)


def _print_report(hashing: Hashing, found: DuplicateReport) -> None:
    header = ("kind", "clusters", "images", "extra", "across sources", "across labels", "across splits")
    print_table(header, [tuple(asdict(kind).values()) for kind in found.kinds])
    if found.largest:
        click.echo()
        header = ("largest clusters", "images", "contents", "sources", "labels", "splits", "first image")
        rows = [tuple(asdict(cluster).values()) for cluster in found.largest]
        print_table(header, [(name[:_SHOWN_DIGITS], *counts) for name, *counts in rows])
    click.echo(f"Hashed {count_of(hashing.hashed, 'content', 'contents')}.", err=True)
    warn_unsearched(found.unsearched)


def _print_place(pairs: int, report: Path) -> None:
    if pairs:
        shown = count_of(pairs, "pair", "pairs")
        click.echo(f"{shown} in {report}/pairs.csv, the worst in {report}/pairs.png", err=True)
    else:
        click.echo(f"No two images show the same picture: {report}/pairs.csv is empty", err=True)


def warn_unsearched(unsearched: dict[str, int]) -> None:
    """Say on stderr which images of the mapping were not compared by their pictures, and why."""
    for why, number in unsearched.items():
        images = count_of(number, "image of the mapping was", "images of the mapping were")
        click.echo(f"Warning: {images} not compared by picture, {why}: {_WHY.get(why) or MEANING[why]}", err=True)
