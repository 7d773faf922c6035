"""Collect the records that a dataset is to hold: those of the asked splits, each with its class or why it has none."""

from __future__ import annotations

from fractions import Fraction

from shardforge.dataset.classes import name_homonyms
from shardforge.dataset.options import WriteOptions, missing_run
from shardforge.dataset.spellings import merge_spellings
from shardforge.errors import UsageError
from shardforge.mapping import Mapping
from shardforge.mapping.ranks import higher_ranks_sql, rank_name_sql
from shardforge.records import RANKS
from shardforge.splits.request import NULL, PRETRAIN, SPLITS


def collect_planned(mapping: Mapping, options: WriteOptions) -> None:
    """Fill the temporary table `planned` with the records of the asked splits, also those without a class.

    Raises:
        UsageError: the mapping has no such split run, split or subset.
    """
    run = options.split_run
    stored = mapping.rows("SELECT parameters FROM split_runs WHERE name = $name", name=run)
    if not stored:
        raise missing_run(mapping, run)
    parameters = mapping.parse_object(stored[0][0], "split_runs.parameters")
    shares = {name: Fraction(share) for name, share in parameters.get("subsets", {}).items()}
    known = [row[0] for row in mapping.rows("SELECT DISTINCT split FROM splits WHERE name = $name", name=run)]
    _start_planned(mapping)
    for split in dict.fromkeys(options.splits) or sorted(known, key=split_rank):
        if split not in known and split not in shares:
            there = ", ".join([*sorted(known, key=split_rank), *shares])
            raise UsageError(f"--splits {split}: not in the split run {run} of {mapping.path}; it has {there}")
        inside = [name for name, share in shares.items() if share <= shares.get(split, 0)]
        mapping.execute(
            mapping.query("insert_planned").format(class_name=NULL if split == PRETRAIN else _label_sql(options.label)),
            name=run,
            planned=split,
            split="" if split in shares else split,
            subsets=f",{','.join(inside)}," if inside else "",
        )
    _settle_classes(mapping, options.label)
    if options.unlabelled == "pretrain":
        train = ", ".join(f"'{name}'" for name in ("train", *shares))  # the names of subsets are checked
        mapping.execute(mapping.query("move_unlabelled").format(train=train))


def collect_written(mapping: Mapping, dataset: str, label: str | None) -> None:
    """Fill the temporary table `planned` with the samples of a written dataset, by its folder, each with its class."""
    _start_planned(mapping)
    statement = mapping.query("insert_written").format(class_name=_label_sql(label))
    mapping.execute(statement, dataset=dataset, pretrain=PRETRAIN)
    _settle_classes(mapping, label)


def count_planned(mapping: Mapping, options: WriteOptions) -> dict[str, int]:
    """Drop the planned records without a class, unless they are wanted; return how many are left in each split.

    Raises:
        UsageError: nothing is left, or nothing with a class where there are to be classes.
    """
    run = options.split_run
    if options.label is not None and options.unlabelled != "keep":
        mapping.execute("DELETE FROM planned WHERE class_name IS NULL AND split <> $pretrain", pretrain=PRETRAIN)
    counts = dict(mapping.rows("SELECT split, count(*) FROM planned GROUP BY split"))
    if options.label is not None and not mapping.rows("SELECT 1 FROM planned WHERE class_name IS NOT NULL LIMIT 1"):
        raise UsageError(
            f"{mapping.path}: no record of the split run {run} has a value in the column {options.label}; "
            "choose another --label, or --label none"
        )
    if not counts:
        raise UsageError(f"{mapping.path}: the split run {run} holds no record to write; run `shardforge split` again")
    return {split: counts[split] for split in sorted(counts, key=split_rank)}


def list_classes(mapping: Mapping) -> list[str]:
    """Return the class names of all splits, sorted by code point so that every engine gives the same indices.

    Raises:
        UsageError: a name has a line break.
    """
    names = [row[0] for row in mapping.rows("SELECT DISTINCT class_name FROM planned WHERE class_name IS NOT NULL")]
    broken = next((name for name in names if "\n" in name or "\r" in name), None)
    if broken is not None:
        raise UsageError(f"class {broken!r}: holds a line break, which classes.txt cannot; correct it in the source")
    return sorted(names)


def split_rank(split: str) -> tuple[int, str]:
    """Order splits as people do: train, validation, test, those of held-out taxa, then subsets by name."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _start_planned(mapping: Mapping) -> None:
    mapping.execute("DROP TABLE IF EXISTS planned")
    mapping.execute("CREATE TEMP TABLE planned (split VARCHAR, key VARCHAR, class_name VARCHAR, reason VARCHAR)")


def _settle_classes(mapping: Mapping, label: str | None) -> None:
    """Make one class of the spellings of a name and several of homonyms, where the label is a rank.

    The tables `class_spellings` and `homonyms` are there in any case.
    """
    mapping.execute(mapping.query("create_class_names"))
    if label in RANKS:
        higher = higher_ranks_sql(label)
        mapping.execute(mapping.query("create_class_paths").format(name=rank_name_sql(label), higher=higher))
        merge_spellings(mapping, label)
        name_homonyms(mapping, label)
        mapping.execute("DROP TABLE class_paths")


def _label_sql(label: str | None) -> str:
    """Return the SQL for the class name of a row of `images`, before spellings are merged and homonyms told apart."""
    if label is None:
        return NULL
    return rank_name_sql(label) if label in RANKS else f"nullif(\"{label}\", '')"
