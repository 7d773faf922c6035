"""What `shardforge split` prints: counts by split, exclusions, moves, and on stderr what to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from shardforge.cli.options import LINE, count_of, print_table

if TYPE_CHECKING:
    from shardforge.splits.exclusions import ExclusionCount
    from shardforge.splits.moves import Moves
    from shardforge.splits.report import SplitReport
    from shardforge.splits.taxa import HeldOut

_SHOWN = 5
#: Characters of a name or entry in a warning.
_LONGEST = 200
#: Reasons of a list that get a row each.
_MOST_REASONS = 20


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
        print_exclusions(report.exclusions)
    if report.held_out is not None:
        print_held_out(report.held_out)
    if report.merged:
        values = count_of(report.merged, "value", "values")
        click.echo(f"{values} of {report.parameters['group_by']} joined another's group by a shared image")
    if report.moves is not None:
        print_moves(report.moves)
    if report.dry_run:
        click.echo("\nDry run: nothing was stored.")


def print_exclusions(exclusions: Sequence[ExclusionCount]) -> None:
    """Print what each list keeps out by reason; of a list with many reasons the largest, and the rest in one row."""
    click.echo()
    rows: list[tuple[str, str | None, int | None, int]] = []
    for name, group in groupby(exclusions, key=lambda count: count.list):
        counts = sorted(group, key=lambda count: -count.images)
        rows += [(name, count.reason, count.entries, count.images) for count in counts[:_MOST_REASONS]]
        if rest := counts[_MOST_REASONS:]:
            entries = None if rest[0].entries is None else sum(count.entries or 0 for count in rest)
            rows.append((name, f"({len(rest):,} more)", entries, sum(count.images for count in rest)))
    print_table(("excluded by", "reason", "entries", "images"), rows)
    if any(count.entries is None for count in exclusions):
        click.echo("Lists without a number of entries were given to an earlier run and stay in force.")


def print_held_out(held_out: HeldOut) -> None:
    """Print how many taxa training does not see, and for which split they are."""
    counts = sorted(held_out.held.items(), reverse=True)
    parts = ", ".join(f"{count:,} for {split}" for split, count in counts)
    seen = held_out.taxa - sum(held_out.held.values())
    click.echo(f"\nOf {held_out.taxa:,} taxa ({held_out.rank}) training may see {seen:,}; held out are {parts}.")


def print_moves(moves: Moves) -> None:
    """Print what changed against the last run of this name, and why."""
    click.echo()
    if not moves.changed and not moves.causes:
        click.echo("Nothing changed since the last run.")
        return
    went = {"moved": sum(images for _, _, images in moves.moved), "came in": moves.new, "went out": moves.vanished}
    changes = [f"{count_of(images, 'key', 'keys')} {what}" for what, images in went.items() if images]
    text = f"Since the last run {', '.join(changes) or 'no key moved'}. Why: {', '.join(moves.causes)}."
    click.echo(click.wrap_text(text, LINE))
    rows = [*moves.moved, ("(new)", "assigned", moves.new), ("assigned", "(excluded or unusable)", moves.vanished)]
    if changed := [row for row in rows if row[2]]:
        print_table(("from", "to", "images"), changed)


def warn_about(report: SplitReport) -> None:
    """Say on stderr what the user should look at."""
    for name in report.replaced:
        _warn(f"exclusion list {name} replaces the one that was stored under this name")
    for name, entries in report.unmatched.items():
        matching = count_of(len(entries), "entry matches", "entries match")
        _warn(f"exclusion list {name}: {matching} no record", _with_nearest(report, entries))
    for name in report.empty_lists:
        _warn(f"exclusion list {name} has no entries, so it keeps nothing out")
    if report.held_out is not None and report.held_out.unmatched:
        unmatched = report.held_out.unmatched
        taxa = count_of(len(unmatched), "taxon to hold out is", "taxa to hold out are")
        _warn(f"{taxa} the {report.held_out.rank} of no record", unmatched)
    if report.held_out is not None and report.held_out.excluded:
        excluded = report.held_out.excluded
        taxa = count_of(len(excluded), "taxon to hold out is", "taxa to hold out are")
        _warn(f"{taxa} in no split", [f"{taxon} (excluded by {lists})" for taxon, lists in excluded.items()])
    if report.held_out is not None and report.held_out.conflicts:
        groups = count_of(report.held_out.conflicts, "group holds", "groups hold")
        _warn(
            f"{groups} both taxa that training sees and held-out ones, or such of two splits "
            f"({report.held_out.conflict_images:,} images): they are other_heldout"
        )
    if report.ungrouped:
        column = report.parameters["group_by"]
        _warn(f"--group-by {column} groups nothing: no usable image has a value in it, see `shardforge map --metadata`")
    if report.conflicts:
        pictures = report.parameters["near_duplicates"] is not None
        what = "picture" if pictures else "content"
        where = "`shardforge duplicates --report DIR` lists" if pictures else "sql/list_group_label_conflicts.sql lists"
        contents = count_of(report.conflicts, f"{what} occurs", f"{what}s occur")
        _warn(f"{contents} under several labels ({report.conflict_images:,} images); {where} them")
    if report.held_back:
        classes = count_of(report.held_back, "class has", "classes have")
        missing = f"(no {report.parameters['stratify']})"
        _warn(f"{classes} no record in validation", [name or missing for name in report.held_back_classes])


def _with_nearest(report: SplitReport, entries: Sequence[str]) -> list[str]:
    """Return the first entries, each with the names that it may stand for."""
    nearest = [report.nearest.get(entry) for entry in entries[: _SHOWN + 1]]
    return [
        f"{entry} (nearest: {' or '.join(names)})" if names else entry
        for entry, names in zip(entries, nearest, strict=False)
    ]


def _warn(what: str, examples: Sequence[str] = ()) -> None:
    shown = ", ".join(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…" for text in examples[:_SHOWN])
    more = ", …" if len(examples) > _SHOWN else ""
    click.echo(f"Warning: {what}{': ' if shown else ''}{shown}{more}", err=True)
