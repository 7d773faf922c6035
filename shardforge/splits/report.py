"""What came of a split: counts, exclusions, and what moved since the last run of this name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from shardforge.errors import SplitError
from shardforge.mapping import Mapping
from shardforge.splits.exclusion_lists import ExclusionList
from shardforge.splits.exclusions import ExclusionCount, count_exclusions, list_unmatched
from shardforge.splits.moves import Moves
from shardforge.splits.request import SPLITS, SplitRequest, format_percent
from shardforge.splits.taxa import HeldOut

_SHOWN_CLASSES = 10


@dataclass(frozen=True, slots=True)
class SplitCount:
    """Records and classes (distinct label, else species) of a split, or of a subset of train.

    `share` is of all records for a split, of train for a subset.
    """

    split: str
    images: int
    share: float
    classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """The outcome of one run.

    `subsets` are cumulated: each holds the smaller ones. `unmatched` has the entries of each list that name no record,
    `nearest` the names in the mapping that the first of them may stand for, `empty_lists` the lists that were given and
    have no entries, `replaced` those that had others before. `merged` counts values of the grouping column that share
    an image with another value and so its group; `ungrouped` says that no usable record has a value in that column.
    `conflicts` counts contents that occur under several labels.
    `held_back` counts the classes without validation, `held_back_classes` shows the first. `held_out` says which taxa
    training does not see, where that was asked. `moves` is None for a new name.
    """

    name: str
    seed: int
    rule: str
    parameters: dict[str, Any]
    splits: tuple[SplitCount, ...]
    subsets: tuple[SplitCount, ...]
    exclusions: tuple[ExclusionCount, ...]
    unmatched: dict[str, list[str]]
    nearest: dict[str, list[str]]
    empty_lists: tuple[str, ...]
    replaced: tuple[str, ...]
    merged: int
    ungrouped: bool
    conflicts: int
    conflict_images: int
    held_back: int
    held_back_classes: tuple[str, ...]
    held_out: HeldOut | None
    moves: Moves | None
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the steps of a run found on their way, see `SplitReport`; `near_duplicates` is of `read_search`."""

    replaced: tuple[str, ...]
    near_duplicates: dict[str, int] | None
    merged: int
    held_out: HeldOut | None


def build_report(
    mapping: Mapping,
    request: SplitRequest,
    parameters: dict[str, Any],
    lists: Sequence[ExclusionList],
    found: Findings,
    moves: Moves | None,
    *,
    dry_run: bool,
) -> SplitReport:
    """Count what was assigned.

    Raises:
        SplitError: there is no usable record, or a split or subset is empty.
    """
    splits = _count_splits(mapping, request)
    images = {count.split: count.images for count in splits}
    subsets = _count_subsets(mapping, request, images.get("train", 0))
    _require_filled(mapping, request, {**images, **{count.split: count.images for count in subsets}})
    exclusions = count_exclusions(mapping, lists)
    unmatched, nearest = list_unmatched(mapping)
    held_back = _list_held_back(mapping) if request.stratify else []
    [(conflicts, conflict_images)] = mapping.rows(
        "SELECT count(*), CAST(coalesce(sum(images), 0) AS BIGINT) FROM shared WHERE conflicting"
    )
    return SplitReport(
        name=request.name,
        seed=request.seed,
        rule=request.rule,
        parameters=parameters,
        splits=splits,
        subsets=subsets,
        exclusions=exclusions,
        unmatched=unmatched,
        nearest=nearest,
        empty_lists=tuple(sorted({one.name for one in lists} - {count.list for count in exclusions})),
        replaced=found.replaced,
        merged=found.merged,
        ungrouped=request.group_by is not None and _is_empty(mapping, request.group_by),
        conflicts=conflicts,
        conflict_images=conflict_images,
        held_back=len(held_back),
        held_back_classes=tuple(held_back[:_SHOWN_CLASSES]),
        held_out=found.held_out,
        moves=moves,
        dry_run=dry_run,
    )


def _count_splits(mapping: Mapping, request: SplitRequest) -> tuple[SplitCount, ...]:
    # One statement for each split: in SQLite, GROUP BY would sort all records.
    statement = "SELECT count(*), count(DISTINCT label) FROM assigned WHERE split = $split"
    asked = SPLITS if request.hold_out else request.required()
    counted = {split: mapping.rows(statement, split=split)[0] for split in asked}
    total = sum(images for images, _ in counted.values())
    return tuple(
        SplitCount(split, images, images / max(total, 1), classes)
        for split, (images, classes) in counted.items()
        if images or split in request.required()
    )


def _count_subsets(mapping: Mapping, request: SplitRequest, train: int) -> tuple[SplitCount, ...]:
    """Count each subset together with the smaller ones that it holds."""
    held = ","
    counts = []
    for name, _ in request.ordered_subsets():
        held += f"{name},"
        [(images, classes)] = mapping.rows(
            "SELECT count(*), count(DISTINCT label) FROM assigned WHERE instr($held, ',' || subset || ',') > 0",
            held=held,
        )
        counts.append(SplitCount(name, images, images / max(train, 1), classes))
    return tuple(counts)


def _is_empty(mapping: Mapping, column: str) -> bool:
    return not mapping.rows(f"SELECT 1 FROM images WHERE reason IS NULL AND \"{column}\" <> '' LIMIT 1")


def _list_held_back(mapping: Mapping) -> list[str]:
    """Return the classes that a stratified split could not give any record in validation."""
    return [name for (name,) in mapping.rows("SELECT class FROM cuts WHERE images = 0 ORDER BY class")]


def _require_filled(mapping: Mapping, request: SplitRequest, images: dict[str, int]) -> None:
    if not any(images.values()):
        raise SplitError(
            f"{mapping.path}: no usable record to split: all images are unusable or excluded, or none is mapped; "
            "run `shardforge map`, or look at the reasons in the table images"
        )
    empty = next((split for split, count in images.items() if count == 0), None)
    if empty is None:
        return
    keys = request.hold_out.keys if request.hold_out else Fraction(0)
    share = {**request.shares, **request.subsets, "key_unseen": keys}.get(empty)
    asked = f" with {format_percent(share)}" if share else ""
    remedy = "ask for a larger share" if share else "ask for smaller shares"
    if empty.endswith("_unseen"):
        remedy = "hold out more taxa" + (", or ask for a larger share" if share else "")
    if request.rule == "hash" and share and empty in request.shares:
        remedy += ", or use --rule exact or --stratify COLUMN, which cut by count"
    raise SplitError(f"{mapping.path}: {empty} would be empty{asked} by rule {request.rule}; {remedy}")
