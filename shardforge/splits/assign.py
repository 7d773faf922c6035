"""Assign every usable record of a mapping to a split, in one transaction and inside the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Dict
from contextlib import suppress
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from shardforge import __version__
from shardforge.errors import SplitError
from shardforge.mapping import Mapping
from shardforge.splits.exclusion_lists import ExclusionList
from shardforge.splits.exclusions import digest_exclusions, store_exclusions
from shardforge.splits.groups import group_records
from shardforge.splits.moves import compare_runs
from shardforge.splits.near_duplicates import read_search
from shardforge.splits.report import Findings, SplitReport, build_report
from shardforge.splits.request import HoldOut, SplitRequest
from shardforge.splits.rules import find_cuts, place_records
from shardforge.splits.taxa import hold_out_taxa

#: One record in twenty for validation, no test.
DEFAULT_SHARES = {"validation": Fraction(1, 20)}

Progress = Callable[[str, int, int], None]

_STEPS = 6


class _DryRunError(Exception):
    """Ends the transaction of a dry run, so that it leaves nothing."""


def assign_splits(
    mapping: Mapping,
    *,
    seed: int,
    name: str = "default",
    shares: Dict[str, Fraction] = DEFAULT_SHARES,
    rule: str | None = None,
    stratify: str | None = None,
    group_by: str | None = None,
    group_near_duplicates: bool = False,
    subsets: Dict[str, Fraction] | None = None,
    exclude: Sequence[ExclusionList | Path] = (),
    hold_out: HoldOut | None = None,
    dry_run: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> SplitReport:
    """Assign every usable record to train, validation or test; replaces the run of the same name.

    Shares are exact fractions of all usable records, those of `subsets` fractions of train. `rule` is "hash" (default:
    a function of seed and group alone) or "exact"; with `stratify`, a column, it is exact inside each class. With
    `hold_out`, whole taxa go to splits of their own, `validation_unseen` and `test_unseen`; the shares are of the rest.
    `group_near_duplicates` takes what `shardforge duplicates` found for the same content.
    docs/splits.md has the formulas. The same request over the same records changes nothing, and an interrupted run
    leaves the stored split as it was.

    Raises:
        UsageError: the request contradicts itself, or an exclusion list cannot be read.
        SplitError: there is no usable record, a split would be empty, or near duplicates were not looked for.
    """
    request = SplitRequest(
        seed=seed,
        name=name,
        shares=shares,
        rule=_choose_rule(rule, stratify),
        stratify=stratify,
        group_by=group_by,
        group_near_duplicates=group_near_duplicates,
        subsets=subsets or {},
        hold_out=hold_out,
    )
    lists = [ExclusionList(one.stem, one) if isinstance(one, Path) else one for one in exclude]
    with suppress(_DryRunError), mapping.transaction():
        mapping.execute(mapping.query("drop_split_scratch"))
        found = _assign_records(mapping, request, lists, progress)
        progress("compare with the stored split", 4, _STEPS)
        lasting = {"near_duplicates": found.near_duplicates, "exclusions": digest_exclusions(mapping)}
        parameters = {**request.parameters(), **lasting}
        moves = compare_runs(mapping, request, parameters)
        report = build_report(mapping, request, parameters, lists, found, moves, dry_run=dry_run)
        _prove(mapping, report)
        if dry_run:
            raise _DryRunError
        progress("store the split", 5, _STEPS)
        if moves is None or moves.changed or moves.causes:
            _store(mapping, request, parameters)
        mapping.execute(mapping.query("drop_split_scratch"))
    return report


def _assign_records(
    mapping: Mapping, request: SplitRequest, lists: Sequence[ExclusionList], progress: Progress
) -> Findings:
    """Define the temporary table `assigned`, the split of every usable record; return what the steps found."""
    progress("exclude records", 0, _STEPS)
    replaced = store_exclusions(mapping, lists)
    progress("find groups", 1, _STEPS)
    near_duplicates = read_search(mapping) if request.group_near_duplicates else None
    merged = group_records(mapping, request)
    _check_classes(mapping, request.stratify)
    progress("place groups", 2, _STEPS)
    place_records(mapping, request)
    held_out = hold_out_taxa(mapping, request) if request.hold_out else None
    progress("cut splits", 3, _STEPS)
    find_cuts(mapping, request)
    return Findings(replaced=replaced, near_duplicates=near_duplicates, merged=merged, held_out=held_out)


def _check_classes(mapping: Mapping, column: str | None) -> None:
    """Refuse to stratify by a column that says nothing."""
    if column is not None and not mapping.rows("SELECT 1 FROM usable WHERE class <> '' LIMIT 1"):
        raise SplitError(
            f"--stratify {column}: no usable record of {mapping.path} has a value in it; choose another column"
        )


def _choose_rule(rule: str | None, stratify: str | None) -> str:
    """Return the rule to record: stratifying is `exact` inside each class."""
    if stratify is not None and rule in (None, "exact"):
        return "stratified"
    return rule or "hash"


def _prove(mapping: Mapping, report: SplitReport) -> None:
    """Refuse to store a split that breaks what every split guarantees."""
    [(usable,)] = mapping.rows("SELECT count(*) FROM usable")
    assigned = sum(count.images for count in report.splits)
    torn = mapping.rows(f"SELECT count(*) FROM ({mapping.query('select_split_torn')}) AS torn")[0][0]
    if assigned != usable or torn:
        raise SplitError(
            f"{mapping.path}: the split is not sound and was not stored: {assigned:,} of {usable:,} usable records "
            f"have a split and {torn:,} contents stand in two; sql/check_image_keys.sql shows keys mapped twice"
        )


def _store(mapping: Mapping, request: SplitRequest, parameters: dict[str, Any]) -> None:
    """Replace the run and its rows."""
    mapping.execute("DELETE FROM splits WHERE name = $name", name=request.name)
    mapping.execute("DELETE FROM split_runs WHERE name = $name", name=request.name)
    mapping.execute(
        "INSERT INTO splits (name, key, split, subset, group_id)"
        " SELECT $name, key, split, subset, group_id FROM assigned",
        name=request.name,
    )
    mapping.execute(
        "INSERT INTO split_runs VALUES ($name, $seed, $rule, $parameters, $created_at, $tool)",
        name=request.name,
        seed=request.seed,
        rule=request.rule,
        parameters=json.dumps(parameters, sort_keys=True),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        tool=__version__,
    )
