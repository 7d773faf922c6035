"""What `shardforge write` prints: images by outcome, and on stderr what to look at."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shardforge.cli.options import count_of, print_json, print_table, warn_of_faults
from shardforge.reasons import ADVICE, INTERNAL_ERROR, MEANING

if TYPE_CHECKING:
    from shardforge.dataset.write import WriteReport

#: Names in a message.
_SHOWN = 4


def print_report(out: Path, report: WriteReport, part: str | None, *, as_json: bool) -> None:
    """Print what a run did to the dataset in `out`; `part` is the share of the shards that it was to write."""
    if as_json:
        print_json(
            {
                "out": str(out),
                "written": report.written,
                "kept": report.kept,
                "samples": report.samples,
                "bytes": report.bytes,
                "outcomes": dict(report.outcomes.most_common()),
                "small": report.small,
                "homonyms": report.homonyms,
                "spellings": report.spellings,
                "textless": report.textless,
                "fewer_bits": report.fewer_bits,
                "passing": dict(report.passing.most_common()),
                "complete": report.complete,
            }
        )
        return
    outcomes = sorted(report.outcomes.items(), key=lambda outcome: (-outcome[1], outcome[0]))
    print_table(["outcome", "images", "meaning"], [[why, count, MEANING.get(why, "")] for why, count in outcomes])
    for remark in _iter_remarks(report):
        click.echo(remark, err=True)
    if report.faults:
        warn_of_faults(report.outcomes[INTERNAL_ERROR], report.faults[0])
    shards = count_of(report.written, "shard", "shards")
    samples = count_of(report.samples, "sample", "samples")
    click.echo(f"{shards} written, {report.kept:,} kept: {samples}, {report.bytes / 1e6:,.1f} MB")
    if report.complete:
        click.echo(f"Next: shardforge verify {shlex.quote(str(out / '_info.json'))}", err=True)
    else:
        click.echo(f"Shards {part} are done; a run without --shards writes what is missing and the manifest.", err=True)


def _iter_remarks(report: WriteReport) -> Iterator[str]:
    for reason, count in report.passing.most_common():
        yield f"Warning: for a reason that may pass: {count:,} {reason}; {ADVICE[reason]}"
    if unlabelled := report.outcomes["no_label"]:
        images = count_of(unlabelled, "image has no label and is", "images have no label and are")
        yield f"Warning: {images} left out"
    if ambiguous := report.outcomes["ambiguous_label"]:
        yield (
            f"Warning: {ambiguous:,} images are left out: their name stands for several classes, and their higher "
            "ranks do not tell which"
        )
    if report.homonyms:
        homonyms = _show_names(report.homonyms)
        yield f"{len(report.homonyms):,} classes share a name and are told apart by higher ranks: {homonyms}"
    if report.spellings:
        spellings = _show_names(report.spellings)
        yield f"Spellings of one name make one class, and what is no name makes none; by usable images: {spellings}"
    if report.textless:
        samples = count_of(report.textless, "sample has", "samples have")
        yield f"Warning: {samples} empty texts: nothing is known of the taxon"
    if report.fewer_bits:
        images = count_of(
            report.fewer_bits, "image of 16 bits was taken for one", "images of 16 bits were taken for ones"
        )
        yield f"Warning: {images} of fewer bits, since no value needs more; --sixteen-bit full takes the upper 8 bits"
    if report.small:
        images = count_of(
            report.small, "image is smaller than --size and was", "images are smaller than --size and were"
        )
        yield f"{images} not enlarged; --upscale does that"


def _show_names(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + ", …" * (len(names) > _SHOWN)
