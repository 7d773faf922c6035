"""The checks in `sql/check_*.sql`: statements that return offending rows, so that no rows mean good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from shardforge.mapping import Mapping

#: Every check, by the name of its statement in `sql/`.
CHECKS = (
    "check_image_keys",
    "check_split_keys",
    "check_split_groups",
    "check_split_contents",
    "check_split_complete",
    "check_split_unusable",
    "check_split_taxa",
)


#: Those that no later scan can upset: what they find is damage.
INTEGRITY_CHECKS = CHECKS[:4]


class CheckResult(NamedTuple):
    """A check, the number of offending rows (0: good) and the first of them."""

    check: str
    rows: int
    first: tuple[Any, ...] | None


def check_mapping(mapping: Mapping, checks: Sequence[str] = CHECKS) -> list[CheckResult]:
    """Run the checks, by default all of them, on the whole mapping."""
    return [_run_check(mapping, check) for check in checks]


def _run_check(mapping: Mapping, check: str) -> CheckResult:
    statement = mapping.query(check).rstrip().rstrip(";")
    found = mapping.rows(f"SELECT *, count(*) OVER () FROM ({statement}) AS offending LIMIT 1")
    return CheckResult(check, found[0][-1], found[0][:-1]) if found else CheckResult(check, 0, None)
