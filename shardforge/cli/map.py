"""`shardforge map`: scan sources into the mapping."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardforge.cli.names import names_options, names_to_json, print_names, read_names
from shardforge.cli.options import (
    LocalPath,
    count_of,
    db_option,
    executor_options,
    json_option,
    print_json,
    print_notes,
    print_table,
    warn_of_faults,
)
from shardforge.errors import SourceError, UsageError
from shardforge.progress import Progress
from shardforge.reasons import INTERNAL_ERROR, MEANING, PASSING

if TYPE_CHECKING:
    from shardforge.mapping import Mapping
    from shardforge.mapping.known_sources import MetadataFile
    from shardforge.mapping.update import MapReport
    from shardforge.sources import SourceSpec

_EXAMPLES = 3


@click.command("map", short_help="Scan sources of images into a mapping, or bring it up to date.")
@db_option
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME=KIND:ROOT",
    help="Source to scan; kinds are folder, list, table, openmmlab, wds, inat21, eol "
    "and bioscan. Repeatable. [default: all known to DB]",
)
@click.option(
    "--option", "options", multiple=True, metavar="NAME.KEY=VALUE", help="Option of the source NAME. Repeatable."
)
@click.option(
    "--metadata",
    type=LocalPath(exists=True, dir_okay=False),
    help="Table (CSV, TSV, JSON Lines, Parquet) that says more about the images; remembered for later scans.",
)
@click.option(
    "--on",
    metavar="COLUMN",
    help="Its column to join by: paths, file names or stems; or key, label, group_id, a taxonomic rank, url.",
)
@names_options
@click.option("--no-hash", is_flag=True, help="Read headers only; duplicates are not found then.")
@click.option("--retry-bad", is_flag=True, help="Read all files again that could not be used before.")
@executor_options
@json_option
@click.option("--dry-run", is_flag=True, help="Print what would change, read no image and write nothing.")
def map_command(
    db: Path,
    sources: tuple[str, ...],
    options: tuple[str, ...],
    metadata: Path | None,
    on: str | None,
    names: tuple[str, ...],
    language: str | None,
    label_is_name: bool | None,
    names_cache: Path | None,
    no_hash: bool,
    retry_bad: bool,
    executor: str,
    workers: int | None,
    ray_address: str | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Scan sources of images into the mapping DB, or bring it up to date: only what is new or changed is read.

    \b
    shardforge map --db mapping.duckdb --source photos=folder:/data/photos \\
        --option photos.label=parent --metadata photos.csv --on filename

    Running it twice changes nothing. Every file has a row: broken ones carry a reason, vanished ones are marked. Exit
    status 1: a directory could not be listed, so its images are unknown.
    """
    from shardforge.executors import open_executor
    from shardforge.mapping.update import find_changes, map_sources

    described: dict[str, Any] = {
        "hash_content": not no_hash,
        "retry_bad": retry_bad,
        "metadata": _read_metadata(metadata, on),
        "names": read_names(names, language, label_is_name),
        "names_cache": names_cache,
    }
    given = _parse_sources(sources, options)
    with Progress(quiet=as_json) as progress, _open(db, dry_run=dry_run, create=bool(given)) as mapping:
        specs = given or _known_sources(mapping)
        if dry_run:
            report = find_changes(mapping, specs, **described, progress=progress)
        else:
            with open_executor(executor, workers, preload=("shardforge.mapping.scan",), address=ray_address) as pool:
                report = map_sources(mapping, specs, pool, **described, progress=progress)
    for name, changes in report.changes.items():
        print_notes(changes.notes, prefix=f"{name}: ")
    if as_json:
        print_json(_to_json(report))
    else:
        _print_report(db, report, dry_run=dry_run)
    if report.unlisted:
        raise _explain_unlisted(report)


@contextmanager
def _open(db: Path, *, dry_run: bool, create: bool) -> Iterator[Mapping]:
    """Open the mapping; a dry run reads it, or an empty one elsewhere in place of one that it may not create."""
    from shardforge.mapping import open_mapping

    with ExitStack() as stack:
        if dry_run and create and not db.exists():
            db = Path(stack.enter_context(tempfile.TemporaryDirectory()), db.name)
            dry_run = False
        yield stack.enter_context(open_mapping(db, write=not dry_run, create=create and not dry_run))


def _read_metadata(file: Path | None, column: str | None) -> MetadataFile | None:
    from shardforge.mapping.known_sources import MetadataFile

    if (file is None) != (column is None):
        raise UsageError("--metadata FILE and --on COLUMN belong together: give both or neither")
    return None if file is None or column is None else MetadataFile(file.absolute(), column)


def _parse_sources(sources: tuple[str, ...], options: tuple[str, ...]) -> list[SourceSpec]:
    from shardforge.sources import parse_sources

    if options and not sources:
        raise UsageError(f"--option {options[0]}: give the --source that it belongs to, too")
    return parse_sources(sources, options)


def _known_sources(mapping: Mapping) -> list[SourceSpec]:
    from shardforge.mapping.known_sources import read_known

    known = [source.spec for source in read_known(mapping).values()]
    if not known:
        raise UsageError(f"{mapping.path}: knows no source yet; give one by --source NAME=KIND:ROOT")
    return known


def _to_json(report: MapReport) -> dict[str, Any]:
    sources = {name: asdict(changes) for name, changes in report.changes.items()}
    for name, reasons in report.reasons.items():
        sources[name]["usable"] = reasons.get(None, 0)
    names = {name: names_to_json(naming) for name, naming in report.names.items()}
    return {"sources": sources, "reasons": report.bad, "unlisted": report.unlisted, "names": names}


def _print_report(db: Path, report: MapReport, *, dry_run: bool) -> None:
    kinds = ("new", "changed", "described", "unchanged", "vanished")
    header = ["source", "files", *kinds] if dry_run else ["source", "files", "usable", *kinds]
    rows = []
    for name, changes in report.changes.items():
        usable = [] if dry_run else [report.reasons.get(name, {}).get(None, 0)]
        rows.append([name, changes.listed, *usable, *(getattr(changes, kind) for kind in kinds)])
    print_table(header, rows)
    if report.bad:
        click.echo()
        print_table(
            ["reason", "images", "meaning"], [(code, count, MEANING[code]) for code, count in report.bad.items()]
        )
        _warn_of_bad(report)
    print_names(report.names)
    for name, changes in report.changes.items():
        if changes.vanished and not changes.unchanged + changes.changed + changes.described:
            click.echo(f"Warning: all that was mapped of {name} before has vanished; is its ROOT right?", err=True)
        if changes.matched or changes.unmatched:
            click.echo(
                f"{name}: metadata describes {count_of(changes.matched, 'image', 'images')}; of its rows, "
                f"{count_of(changes.unmatched, 'matches', 'match')} none",
                err=True,
            )
    if dry_run:
        click.echo("Nothing was written; run it without --dry-run.", err=True)
    elif any(reasons.get(None) for reasons in report.reasons.values()):
        click.echo(f"Next: shardforge split --db {shlex.quote(str(db))} --seed 17 --val-split 5", err=True)
    else:
        click.echo("Warning: no image is usable; is ROOT (or the option root) the folder that they lie in?", err=True)


def _warn_of_bad(report: MapReport) -> None:
    """Say which images the next run reads again, and ask for a report of faults that are not theirs."""
    if passing := [f"{count:,} {reason}" for reason, count in report.bad.items() if reason in PASSING]:
        click.echo(f"For a reason that may pass: {', '.join(passing)}; the next run reads them again", err=True)
    if report.faults:
        warn_of_faults(report.bad[INTERNAL_ERROR], report.faults[0])


def _explain_unlisted(report: MapReport) -> SourceError:
    directories = count_of(len(report.unlisted), "directory", "directories")
    shown = ", ".join(report.unlisted[:_EXAMPLES])
    return SourceError(
        f"{directories} could not be listed, so their images are not known "
        f"(for instance {shown}); allow reading them and run the same command again"
    )
