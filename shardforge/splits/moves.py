"""What a run changes against the run of the same name that is stored, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shardforge.mapping import Mapping
from shardforge.splits.request import SplitRequest

_CAUSES = {
    "shares": "other shares",
    "stratify": "other stratification",
    "group_by": "other grouping",
    "near_duplicates": "other grouping of near duplicates",
    "subsets": "other subsets",
    "hold_out": "other held-out taxa",
    "exclusions": "other exclusions",
}


@dataclass(frozen=True, slots=True)
class Moves:
    """What changed since the last run of this name; `moved` has rows of split before, split now, records."""

    causes: tuple[str, ...]
    moved: tuple[tuple[str, str, int], ...]
    new: int
    vanished: int
    regrouped: int
    subset_changed: int

    @property
    def changed(self) -> bool:
        """Whether any row of the split differs from what is stored."""
        return bool(self.moved or self.new or self.vanished or self.regrouped or self.subset_changed)


def compare_runs(mapping: Mapping, request: SplitRequest, parameters: dict[str, Any]) -> Moves | None:
    """Return what the assigned records change in the stored run of this name; None when there is no such run."""
    runs = mapping.rows("SELECT seed, rule, parameters FROM split_runs WHERE name = $name", name=request.name)
    if not runs:
        return None
    rows = mapping.rows(mapping.query("compare_splits"), name=request.name)
    [(stored,)] = mapping.rows("SELECT count(*) FROM splits WHERE name = $name", name=request.name)
    kept = [row for row in rows if row[0] is not None]
    new = sum(images for before, _, images, _, _ in rows if before is None)
    vanished = stored - sum(row[2] for row in kept)
    regrouped = sum(row[3] for row in kept)
    seed, rule, old = runs[0]
    moved = tuple((before, now, images) for before, now, images, _, _ in kept if before != now)
    causes = (
        _compare_parameters(
            (seed, rule, mapping.parse_object(old, "split_runs.parameters")), (request.seed, request.rule, parameters)
        )
        or _compare_records(new, vanished, regrouped)
        or ["other contents or classes of the same records"] * bool(moved)
    )
    return Moves(
        causes=tuple(causes),
        moved=moved,
        new=new,
        vanished=vanished,
        regrouped=regrouped,
        subset_changed=sum(row[4] for row in kept),
    )


def _compare_parameters(old: tuple[int, str, dict[str, Any]], now: tuple[int, str, dict[str, Any]]) -> list[str]:
    causes = []
    if old[0] != now[0]:
        causes.append(f"another seed ({old[0]}, now {now[0]})")
    if old[1] != now[1]:
        causes.append(f"another rule ({old[1]}, now {now[1]})")
    return causes + [text for name, text in _CAUSES.items() if old[2].get(name) != now[2].get(name)]


def _compare_records(new: int, vanished: int, regrouped: int) -> list[str]:
    """Name what may move records between two runs with the same parameters."""
    changes = {"new records": new, "records now excluded or unusable": vanished, "records in another group": regrouped}
    return [f"{what} ({count:,})" for what, count in changes.items() if count]
