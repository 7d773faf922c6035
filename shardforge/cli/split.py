"""`shardforge split`: assign every record to train, validation or test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardforge.cli.options import db_option, json_option, print_json, print_table
from shardforge.cli.progress import Progress
from shardforge.errors import UsageError

if TYPE_CHECKING:
    from shardforge.splits import Moves, SplitReport

_SHOWN = 5


@click.command("split")
@db_option
@click.option("--seed", type=int, required=True, help="Seed of the assignment; stored with the split.")
@click.option(
    "--val-split", default="5", show_default=True, metavar="PCT", help="Percent of the records for validation."
)
@click.option("--test-split", default="0", show_default=True, metavar="PCT", help="Percent of the records for test.")
@click.option(
    "--rule",
    type=click.Choice(["hash", "exact"]),
    help="hash: by seed and group alone, growth moves nothing; exact: the asked share. [default: hash]",
)
@click.option("--stratify", metavar="COLUMN", help="Cut exactly inside each class of this column.")
@click.option(
    "--group-by", metavar="COLUMN", help="Keep records with the same value together, beside those with the same bytes."
)
@click.option(
    "--subset", "subsets", multiple=True, metavar="NAME=PCT", help="Mark a nested subset of train. Repeatable."
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Keep out what a list names: keys, paths, file names, hashes or taxa; text, CSV, TSV, JSON. Repeatable.",
)
@click.option("--name", default="default", show_default=True, help="Name of the split run, to keep several.")
@click.option("--dry-run", is_flag=True, help="Print the result and change nothing.")
@json_option
def split_command(
    db: Path,
    seed: int,
    val_split: str,
    test_split: str,
    rule: str | None,
    stratify: str | None,
    group_by: str | None,
    subsets: tuple[str, ...],
    exclude: tuple[Path, ...],
    name: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Assign every usable record of a mapping to a split.

    \b
    shardforge split --db mapping.duckdb --seed 17 --val-split 5
    shardforge split --db mapping.duckdb --seed 17 --val-split 2.5 --stratify species --exclude rare_species.txt

    Records with the same bytes always share a split. The same seed and records give the same split on every machine
    and in both database engines. A second run with the same --name replaces the first and says what moved.
    """
    from shardforge.mapping import open_mapping
    from shardforge.splits import assign_splits

    shares = {"validation": parse_percent("--val-split", val_split)}
    if test := parse_percent("--test-split", test_split):
        shares["test"] = test
    with open_mapping(db, write=True) as mapping, Progress() as progress:
        report = assign_splits(
            mapping,
            seed=seed,
            name=name,
            shares=shares,
            rule=rule,
            stratify=stratify,
            group_by=group_by,
            subsets=parse_subsets(subsets),
            exclude=list(exclude),
            dry_run=dry_run,
            progress=progress,
        )
    if as_json:
        print_json(to_json(report))
    else:
        print_report(report)
    warn_about(report)


def parse_percent(option: str, text: str) -> Fraction:
    """Return a percentage as an exact fraction of 1; "2.5" is 1/40."""
    try:
        return Fraction(text.strip().removesuffix("%")) / 100
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{option} {text}: not a percentage; give a number such as 5 or 2.5") from None


def parse_subsets(texts: tuple[str, ...]) -> dict[str, Fraction]:
    """Return the shares of `NAME=PCT` options by name."""
    subsets: dict[str, Fraction] = {}
    for text in texts:
        name, equals, percent = text.partition("=")
        if not equals:
            raise UsageError(f"--subset {text}: give it as NAME=PCT, for instance train_small=10")
        if name in subsets:
            raise UsageError(f"--subset {name} is given twice; give each subset one share")
        subsets[name] = parse_percent(f"--subset {name}", percent)
    return subsets


def to_json(report: SplitReport) -> dict[str, Any]:
    """Return the report as JSON can hold it."""
    result = asdict(report)
    if result["moves"] is not None:
        result["moves"]["moved"] = [
            {"from": before, "to": now, "images": images} for before, now, images in result["moves"]["moved"]
        ]
    return result


def print_report(report: SplitReport) -> None:
    """Print the counts by split, then what was excluded, merged and moved."""
    counts = [(count.split, count.images, f"{count.share:.3%}", count.classes) for count in report.splits]
    print_table(("split", "images", "share", "classes"), counts)
    if report.subsets:
        click.echo()
        counts = [(count.split, count.images, f"{count.share:.3%}", count.classes) for count in report.subsets]
        print_table(("subset", "images", "of train", "classes"), counts)
    if report.exclusions:
        click.echo()
        rows = [(count.list, count.reason, count.entries, count.images) for count in report.exclusions]
        print_table(("excluded by", "reason", "entries", "images"), rows)
    if report.merged:
        click.echo(
            f"{report.merged:,} values of {report.parameters['group_by']} joined another's group by a shared image"
        )
    if report.moves is not None:
        print_moves(report.moves)
    if report.dry_run:
        click.echo("\nDry run: nothing was stored.")


def print_moves(moves: Moves) -> None:
    """Print what changed against the last run of this name, and why."""
    click.echo()
    if not moves.changed and not moves.causes:
        click.echo("Nothing changed since the last run.")
        return
    moved = sum(images for _, _, images in moves.moved)
    click.echo(f"Since the last run {moved:,} keys moved. Why: {', '.join(moves.causes)}.")
    rows = [*moves.moved, ("(new)", "assigned", moves.new), ("assigned", "(excluded or unusable)", moves.vanished)]
    if changed := [row for row in rows if row[2]]:
        print_table(("from", "to", "images"), changed)


def warn_about(report: SplitReport) -> None:
    """Say on stderr what the user should look at."""
    for name, entries in report.unmatched.items():
        _warn(f"{len(entries):,} entries of exclusion list {name} match no record", entries)
    for name in report.empty_lists:
        _warn(f"exclusion list {name} has no entries, so it keeps nothing out")
    if report.conflicts:
        _warn(
            f"{report.conflicts:,} contents ({report.conflict_images:,} images) occur under several labels; "
            "sql/list_group_label_conflicts.sql lists them"
        )
    if report.held_back:
        _warn(f"{report.held_back:,} classes have no record in validation", report.held_back_classes)


def _warn(what: str, examples: Sequence[str] = ()) -> None:
    shown = ", ".join(example or "(none)" for example in examples[:_SHOWN])
    more = ", …" if len(examples) > _SHOWN else ""
    click.echo(f"Warning: {what}{': ' if shown else ''}{shown}{more}", err=True)
