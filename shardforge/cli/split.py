"""`shardforge split`: assign every record to train, validation or test."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shardforge.cli.options import db_option, json_option, print_json
from shardforge.cli.split_report import print_report, to_json, warn_about
from shardforge.errors import UsageError
from shardforge.progress import Progress

if TYPE_CHECKING:
    from shardforge.splits.request import HoldOut

_NUMBER = re.compile(r"(-?[0-9]{1,18}(?:\.[0-9]{0,18})?|-?\.[0-9]{1,18})\s*%?")
_SHOWN = 20


@click.command("split", short_help="Assign the images to train, validation and test.")
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
    "--group-near-duplicates",
    is_flag=True,
    help="Keep pictures together that `shardforge duplicates` found to be the same.",
)
@click.option(
    "--subset", "subsets", multiple=True, metavar="NAME=PCT", help="Mark a nested subset of train. Repeatable."
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Keep out what a list names: keys, paths, file names, hashes, ids or taxa; text, CSV, TSV, JSON. Repeatable.",
)
@click.option(
    "--exclude-taxa",
    multiple=True,
    metavar="[NAME=]FILE",
    help="As --exclude, and also all images of the taxa that the list names its images by. Repeatable.",
)
@click.option(
    "--hold-out-taxa",
    metavar="PCT|FILE",
    help="Keep whole taxa out of training, a share of all or those in a list: validation_unseen, test_unseen.",
)
@click.option(
    "--hold-out-rank", default="species", show_default=True, metavar="RANK", help="Rank of the taxa to hold out."
)
@click.option(
    "--without-rank",
    type=click.Choice(["pretrain", "train"]),
    default="pretrain",
    show_default=True,
    help="Where records go that have no name at that rank.",
)
@click.option(
    "--unseen-keys",
    default="0",
    show_default=True,
    metavar="PCT",
    help="Percent of the records of held-out taxa to set aside as key_unseen, for retrieval.",
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
    group_near_duplicates: bool,
    subsets: tuple[str, ...],
    exclude: tuple[str, ...],
    exclude_taxa: tuple[str, ...],
    hold_out_taxa: str | None,
    hold_out_rank: str,
    without_rank: str,
    unseen_keys: str,
    name: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Assign every usable record of a mapping to a split.

    \b
    shardforge split --db mapping.duckdb --seed 17 --val-split 5
    shardforge split --db mapping.duckdb --seed 17 --val-split 2.5 --stratify species --exclude rare_species.txt
    shardforge split --db mapping.duckdb --seed 17 --test-split 5 --hold-out-taxa 10%

    Records with the same bytes always share a split. The same seed and records give the same split on every machine
    and in both database engines. A second run with the same --name replaces the first and says what moved.
    """
    from shardforge.mapping import open_mapping
    from shardforge.splits.assign import assign_splits
    from shardforge.splits.exclusion_lists import parse_list

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
            group_near_duplicates=group_near_duplicates,
            subsets=parse_subsets(subsets),
            exclude=[*map(parse_list, exclude), *(parse_list(text, taxa=True) for text in exclude_taxa)],
            hold_out=parse_hold_out(hold_out_taxa, hold_out_rank, without_rank, unseen_keys),
            dry_run=dry_run,
            progress=progress,
        )
    if as_json:
        print_json(to_json(report))
    else:
        print_report(report)
    warn_about(report)


def parse_hold_out(taxa: str | None, rank: str, without_rank: str, keys: str) -> HoldOut | None:
    """Return which taxa to hold out: a share of all when `taxa` is a percentage, else those that a file lists."""
    from shardforge.splits.exclusion_lists import parse_list
    from shardforge.splits.request import HoldOut

    if taxa is None:
        if (rank, without_rank, parse_percent("--unseen-keys", keys)) != ("species", "pretrain", Fraction(0)):
            raise UsageError("--hold-out-rank, --without-rank and --unseen-keys need --hold-out-taxa")
        return None
    share, names = None, []
    if re.fullmatch(r"-?[\d.]+", taxa.strip()) or (taxa.strip().endswith("%") and not Path(taxa).is_file()):
        share = parse_percent("--hold-out-taxa", taxa)
    else:
        names = [entry.text for entry in parse_list(taxa, taxa=True).read() if entry.kind == "taxon"]
        if not names:
            raise UsageError(
                f"--hold-out-taxa {taxa}: names no taxon; give a list of names, or a percentage such as 10%"
            )
    return HoldOut(
        rank=rank,
        share=share,
        taxa=tuple(names),
        without_rank=without_rank,
        keys=parse_percent("--unseen-keys", keys),
    )


def parse_percent(option: str, text: str) -> Fraction:
    """Return a percentage as an exact fraction of 1; "2.5" is 1/40."""
    number = _NUMBER.fullmatch(text.strip())
    if number is None:
        raise UsageError(f"{option} {text[:_SHOWN]}: not a percentage; give a number such as 5 or 2.5")
    return Fraction(number[1]) / 100


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
