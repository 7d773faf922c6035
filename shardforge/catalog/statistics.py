"""Statistics of a mapping or a dataset: what the statements in `sql/` count, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shardforge.catalog.licences import Licence, recognise_licence
from shardforge.dataset.collect import collect_written
from shardforge.errors import UsageError
from shardforge.mapping import Mapping

#: Each name of a figure: rows of {column: value}, in the order of the statement.
Statistics = dict[str, list[dict[str, Any]]]

#: What can be said of images wherever they are: in a mapping, a dataset, a catalog. Figure: statement in `sql/`.
OF_IMAGES = {
    "sources": "count_by_source",
    "ranks": "count_by_rank",
    "kingdoms": "count_by_kingdom",
    "rank_gaps": "list_rank_gaps",
    "balance": "measure_long_tail",
    "class_sizes": "count_long_tail",
    "shorter_sides": "count_by_size",
    "licences": "count_by_license",
}

#: What only a mapping knows.
OF_MAPPING = {
    "reasons": "count_by_reason",
    "exclusions": "count_exclusions",
    "splits": "count_by_split",
    "aspects": "count_by_aspect",
    "formats": "count_by_format",
    "datasets": "count_by_dataset",
    "outcomes": "count_outcomes",
}

#: Licences that are listed one by one; unknown ones beyond them are counted together.
_MOST_SPELLINGS = 100
_RARER = "(others)"


def collect_statistics(
    mapping: Mapping,
    figures: dict[str, str],
    *,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Statistics:
    """Run the statements of `figures`; memory holds their results, the number of images does not matter."""
    found: Statistics = {}
    for done, (figure, statement) in enumerate(figures.items()):
        progress("count", done, len(figures))
        rows = (row for batch in mapping.batches(mapping.query(statement)) for row in batch.to_pylist())
        found[figure] = roll_up_licences(rows) if figure == "licences" else list(rows)
    progress("count", len(figures), len(figures))
    return found


def limit_to_dataset(mapping: Mapping, dataset: str) -> str:
    """Let the open mapping be about the images of one dataset alone, labelled by its classes; return its folder.

    A dataset without classes keeps the labels of the mapping.

    Raises:
        UsageError: the mapping has no such dataset, or several of this name.
    """
    known = mapping.rows("SELECT name, out FROM datasets ORDER BY name, out")
    place = str(Path(dataset).resolve())
    found: list[str] = [out for _, out in known if out == place] or [out for name, out in known if name == dataset]
    if len(found) != 1:
        what = "several datasets of this name" if found else "no such dataset"
        there = ", ".join(f"{name} in {out}" for name, out in known)
        remedy = f"give the folder of one that it has: {there}" if known else "none was written from it yet"
        raise UsageError(f"--dataset {dataset}: {mapping.path} has {what}; {remedy}")
    [folder] = found
    [(database,)] = mapping.rows("SELECT name FROM pragma_database_list WHERE name <> 'temp'")
    [(options,)] = mapping.rows("SELECT options FROM datasets WHERE out = $out", out=folder)
    column = mapping.parse_object(options, "datasets.options").get("label")
    collect_written(mapping, folder, column)
    mapping.execute("CREATE TEMP TABLE written AS SELECT DISTINCT key, coalesce(class_name, '') AS label FROM planned")
    mapping.index("written", "key")
    label = "i.label" if column is None else "w.label"
    mapping.execute(mapping.query("create_dataset_view").format(database=database, label=label))
    return folder


def roll_up_licences(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge the rows of `count_by_license.sql` by the licence that their spellings mean, the most frequent first.

    `licence` is None for what is not a known licence: a row for each such spelling, the rarest of many together.
    `as_given` has the spellings. What a licence allows is None where it is not known.
    """
    merged: dict[tuple[str | None, str | None], dict[str, Any]] = {}
    for row in rows:
        licence, spelling = recognise_licence(row["license"]), row["license"]
        key = (licence.name, None) if licence else (None, spelling)
        if licence is None and key not in merged and len(merged) >= _MOST_SPELLINGS:
            key, spelling = (None, _RARER), _RARER
        entry = merged.setdefault(key, _start_count(licence))
        if spelling is not None and spelling not in entry["as_given"]:
            entry["as_given"].append(spelling)
        entry["images"] += row["images"]
        entry["without_author"] += row["without_author"]
    total = sum(entry["images"] for entry in merged.values())
    counted = [{**entry, "percent": round(100 * entry["images"] / total, 2)} for entry in merged.values()]
    return sorted(counted, key=lambda entry: (-entry["images"], str(entry["licence"]), entry["as_given"]))


def _start_count(licence: Licence | None) -> dict[str, Any]:
    return {
        "licence": licence and licence.name,
        "url": licence and licence.url,
        "as_given": [],
        "images": 0,
        "percent": 0.0,
        "redistribution": licence and licence.redistribution,
        "commercial": licence and licence.commercial,
        "derivatives": licence and licence.derivatives,
        "attribution": licence and licence.attribution,
        "without_author": 0,
        "hub_id": licence and licence.hub_id,
    }
