"""`shardforge verify`."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shardforge.cli.options import (
    LocalPath,
    executor_options,
    json_option,
    one_line,
    print_json,
    print_notes,
    trust_option,
)
from shardforge.progress import Progress

if TYPE_CHECKING:
    from shardforge.executors import Executor
    from shardforge.samples import Note
    from shardforge.verify.problems import Problem


@click.command("verify", short_help="Check shards against manifest and mapping; repair them.")
@click.argument("info", required=False, type=LocalPath())
@click.option(
    "--shardlist",
    multiple=True,
    metavar="PATHS",
    help="Shards of any origin, with braces: 'shard-{000003..000031}.tar'.",
)
@click.option(
    "--level",
    type=click.Choice(["size", "checksum", "decode"]),
    help="By file sizes, SHA-256, or every image, label and text. [default: checksum; decode for --shardlist]",
)
@click.option("--db", type=LocalPath(dir_okay=False), help="Mapping database to reconcile INFO with.")
@click.option("--class-file", type=LocalPath(dir_okay=False, exists=True), help="Class file of --shardlist.")
@click.option(
    "--strict",
    is_flag=True,
    help="Judge --shardlist by what `shardforge write` makes, not by what webdataset, timm and the loader read.",
)
@click.option(
    "--repair", is_flag=True, help="Write bad and missing shards again, to the same bytes, and verify once more."
)
@trust_option
@executor_options
@json_option
def verify_command(
    info: Path | None,
    shardlist: tuple[str, ...],
    level: str | None,
    db: Path | None,
    class_file: Path | None,
    strict: bool,
    repair: bool,
    trust: bool,
    executor: str,
    workers: int | None,
    ray_address: str | None,
    as_json: bool,
) -> None:
    """Check the dataset whose manifest is INFO (OUT/_info.json, or OUT), or the tars of --shardlist.

    Prints the paths of bad shards on stdout and every problem on stderr; nothing, and exit status 0, when all is good.

    \b
    shardforge verify shards/_info.json --db mapping.duckdb
    shardforge verify --shardlist 'old/val/shard-{000003..000031}.tar' --workers 8
    """
    from shardforge.executors import open_executor
    from shardforge.mapping import open_mapping

    if (info is None) == (not shardlist):
        raise click.UsageError("Give either INFO (OUT/_info.json) or --shardlist.")
    if shardlist and (repair or db):
        raise click.UsageError("--repair and --db need INFO: tars alone do not say where they came from.")
    if shardlist and level == "checksum":
        raise click.UsageError("--level checksum has nothing to compare --shardlist with: use size or decode.")
    if info is not None and info.suffix != ".json" and info.exists() and not info.is_dir():
        raise click.UsageError(f"{info}: is no _info.json and no folder of a dataset; tars go with --shardlist.")
    if info is not None and class_file is not None:
        raise click.UsageError("--class-file goes with --shardlist; INFO names its own.")
    if info is not None and strict:
        raise click.UsageError("--strict goes with --shardlist: the shards of INFO are judged so anyway.")
    if db is not None:
        open_mapping(db).close()  # a wrong one is told now, and not after hours of reading
    with (
        Progress(quiet=as_json) as progress,
        open_executor(executor, workers, preload=("shardforge.verify.shard",), address=ray_address) as pool,
    ):
        if info is None:
            problems, notes = _verify_tars(shardlist, level or "decode", class_file, strict, pool, progress)
            root = Path()
        else:
            info = info if info.suffix == ".json" else info / "_info.json"
            verify = partial(_verify_info, info, level or "checksum", db, pool, progress, trust=trust)
            problems, notes = verify(), []
            root = info.parent
            if repair and problems:
                _repair(info, problems, pool, progress)
                problems = verify()
    _print_problems(root, problems, notes, as_json=as_json)
    if info is not None and not repair and _is_mendable(root, problems):
        click.echo(f"Next: shardforge verify {shlex.quote(str(info))} --repair", err=True)
    if problems:
        click.get_current_context().exit(1)


def _verify_tars(
    shardlist: tuple[str, ...], level: str, class_file: Path | None, strict: bool, pool: Executor, progress: Progress
) -> tuple[list[Problem], list[Note]]:
    from shardforge.files import read_lines
    from shardforge.verify.shardlist import verify_shardlist

    classes = len(read_lines(class_file)) if class_file else None
    found = verify_shardlist(shardlist, level, pool, classes=classes, strict=strict, progress=progress)
    return found.problems, found.notes.tell()


def _verify_info(
    info: Path, level: str, db: Path | None, pool: Executor, progress: Progress, *, trust: bool
) -> list[Problem]:
    from shardforge.catalog.catalog import check_catalog
    from shardforge.dataset.layout import Layout
    from shardforge.dataset.manifest import read_manifest
    from shardforge.mapping import open_mapping
    from shardforge.verify.dataset import verify_dataset
    from shardforge.verify.mapping import verify_mapping

    problems = verify_dataset(info, level, pool, progress=progress, trust=trust)
    if not any(problem.code.startswith("manifest_") for problem in problems):
        problems += check_catalog(Layout(info.parent))
    if db is not None and not any(problem.code == "manifest_invalid" for problem in problems):
        with open_mapping(db) as mapping:
            problems += verify_mapping(mapping, read_manifest(info, trust=trust))
    return problems


def _repair(info: Path, problems: list[Problem], pool: Executor, progress: Progress) -> None:
    from shardforge.catalog.catalog import write_catalog
    from shardforge.dataset.layout import CATALOG
    from shardforge.verify.repair import repair_dataset

    for problem in problems:
        click.echo(one_line(str(problem)), err=True)
    lines = repair_dataset(info, [problem for problem in problems if problem.file != CATALOG], pool, progress=progress)
    for line in lines:
        click.echo(one_line(line), err=True)
    if any(problem.file == CATALOG for problem in problems):
        write_catalog(info.parent, progress=progress)
        click.echo(f"{CATALOG}: written again", err=True)


def _print_problems(root: Path, problems: list[Problem], notes: list[Note], *, as_json: bool) -> None:
    print_notes(notes)
    if as_json:
        print_json({"problems": list(map(asdict, problems)), "notes": list(map(asdict, notes))})
    else:
        for problem in problems:
            click.echo(one_line(str(problem)), err=True)
        for path in dict.fromkeys(str(root / problem.file) for problem in problems if problem.shard):
            click.echo(one_line(path))


def _is_mendable(root: Path, problems: list[Problem]) -> bool:
    """Return whether --repair can mend any of them: the dataset has its plan, and not the mapping alone is wrong."""
    from shardforge.dataset.layout import Layout

    return Layout(root).plan.exists() and any(not problem.code.startswith("mapping_") for problem in problems)
