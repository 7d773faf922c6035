"""A mapping as Markdown: the generated parts of a card that say how a dataset was split and what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from shardforge.catalog.markdown import make_table
from shardforge.dataset.manifest import Manifest
from shardforge.mapping import Mapping
from shardforge.reasons import MEANING, OK
from shardforge.splits.request import format_percent


def describe_mapping_parts(mapping: Mapping, manifest: Manifest) -> dict[str, str]:
    """Return the parts split and left_out, which only the mapping can tell."""
    dataset = str(manifest.path.parent.resolve())
    return {
        "split": _describe_split(mapping, manifest.ours["options"]["split_run"], dataset),
        "left_out": _describe_left_out(mapping, dataset),
    }


def _describe_split(mapping: Mapping, run: str, dataset: str) -> str:
    runs = mapping.rows(
        "SELECT seed, rule, parameters FROM split_runs WHERE name = $name"
        " AND created_at <= (SELECT written_at FROM datasets WHERE out = $dataset)",
        name=run,
        dataset=dataset,
    )
    if not runs:
        return f"The split run `{run}` that the dataset was written from is no longer in the mapping."
    [(seed, rule, stored)] = runs
    lines = [f"- {line}" for line in _describe_parameters(mapping.parse_object(stored, "split_runs.parameters"))]
    return "\n".join(
        [
            f"The splits follow from seed {seed} by the rule `{rule}`; images with the same bytes share a split.",
            "",
            *lines,
        ]
    )


def _describe_parameters(parameters: dict[str, Any]) -> Iterator[str]:
    """Yield what was asked of a split run, as `SplitRequest.parameters` recorded it."""
    yield f"shares: {_list_shares(parameters['shares'])}; the rest is for train"
    if column := parameters.get("stratify"):
        yield f"cut inside each class of the column `{column}`"
    if column := parameters.get("group_by"):
        yield f"images with the same `{column}` share a split"
    if search := parameters.get("near_duplicates"):
        yield f"images whose pictures differ in at most {search['distance']} of 256 bits share a split"
    if subsets := parameters.get("subsets"):
        yield f"nested subsets of train: {_list_shares(subsets)}"
    if asked := parameters.get("hold_out"):
        yield _describe_hold_out(asked)
    if lists := parameters.get("exclusions"):
        yield f"kept out by the exclusion lists: {', '.join(f'`{name}`' for name in lists)}"


def _describe_hold_out(asked: dict[str, Any]) -> str:
    which = "those of a list" if asked["share"] is None else format_percent(Fraction(asked["share"]))
    keys = Fraction(asked["keys"])
    set_aside = f"; {format_percent(keys)} of their images are in `key_unseen`" if keys else ""
    return (
        f"of the taxa of rank {asked['rank']}, {which} are held out of training{set_aside}; images without a name at "
        f"this rank are in `{asked['without_rank']}`"
    )


def _list_shares(shares: dict[str, str]) -> str:
    return ", ".join(f"{name} {format_percent(Fraction(share))}" for name, share in shares.items())


def _describe_left_out(mapping: Mapping, dataset: str) -> str:
    outcomes = mapping.rows(
        "SELECT reason, count(*) FROM outcomes WHERE dataset = $dataset AND reason <> $ok GROUP BY reason "
        "ORDER BY count(*) DESC, reason",
        dataset=dataset,
        ok=OK,
    )
    if not outcomes:
        return "Nothing: all images that the sources list are in the dataset."
    rows = [(reason, images, MEANING.get(reason, "")) for reason, images in outcomes]
    pieces = [make_table(("reason", "images", "meaning"), rows)]
    if any(reason == "excluded" for reason, _ in outcomes):
        lists = mapping.rows(mapping.query("count_exclusions"))
        pieces.append(make_table(("exclusion list", "reason", "images"), [row[:3] for row in lists]))
    return "\n\n".join(pieces)
