"""Which columns of a foreign table describe an image: known ones by their usual names, all others as JSON metadata."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from shardforge.records import DESCRIPTIVE, RANKS
from shardforge.sources.json_text import dump_json, mend_text, parse_json
from shardforge.tables.numbers import as_whole

#: Column of a record -> the names that tables give it, the strongest first.
ALIASES: dict[str, tuple[str, ...]] = {
    "label": ("label", "class_name"),
    "group_id": ("group_id", "group", "specimen_id", "observation_id"),
    **{rank: (rank,) for rank in RANKS},
    "common_name": ("common_name", "common", "vernacular_name"),
    "license": ("license", "licence"),
    "author": ("author", "photographer", "rights_holder"),
    "url": ("url", "source_url", "image_url"),
    "metadata": ("metadata",),
}
PATH_ALIASES = ("path", "file", "filename", "file_name", "filepath", "image_path", "img_path", "image")

Values = Sequence[Any]


def find_column(names: Iterable[str], aliases: Sequence[str]) -> str | None:
    """Return the name among `names` that is the strongest of `aliases`; case, spaces and hyphens do not matter."""
    plain = {_plain(name): name for name in names}
    return next((plain[alias] for alias in aliases if alias in plain), None)


def describe(columns: Mapping[str, Values], rows: int) -> dict[str, list[str | None]]:
    """Return what `columns` say about each of `rows` images, as columns of `shardforge.records.DESCRIPTIVE`.

    Empty text, NaN, infinity and null are all null, and a float that is a whole number is written as that. Columns that
    no record has are gathered in `metadata`, one JSON object per row with sorted keys and without nulls.
    """
    sources = _match_columns(columns)
    found = {
        target: [as_text(value) for value in columns[name]] for target, name in sources.items() if target != "metadata"
    }
    used = set(sources.values())
    others = {name: values for name, values in columns.items() if name not in used}
    nested: Values = columns[sources["metadata"]] if "metadata" in sources else ()
    if others or nested:
        found["metadata"] = _gather(others, nested or [None] * rows)
    return found


def as_text(value: object) -> str | None:
    """Return a cell as text: null for nothing and for numbers that JSON does not have, JSON for lists and objects.

    A float that is a whole number is written as that: 12.0 as 12, as it is where no gap made its column one of floats.
    """
    if value is None or value == "" or (isinstance(value, float | Decimal) and not math.isfinite(value)):
        return None
    if isinstance(value, str):
        return mend_text(value)
    return dump_json(value) if isinstance(value, bool | list | dict) else str(as_whole(value))


def dump_metadata(values: Mapping[str, object]) -> str | None:
    """Return `values` without nulls as one JSON object with sorted keys, or null when nothing is left.

    A float that is a whole number is written as that.
    """
    kept = {name: as_whole(value) for name, value in values.items() if as_text(value) is not None}
    return dump_json(kept, compact=True) if kept else None


def load_metadata_cell(value: object) -> dict[str, Any]:
    """Return a cell of a `metadata` column as an object: itself, its JSON, or else {"metadata": value}."""
    if isinstance(value, str):
        try:
            parsed = parse_json(value)
        except ValueError:
            parsed = None
        value = parsed if isinstance(parsed, dict) else value
    return dict(value) if isinstance(value, dict) else {"metadata": value}


def _match_columns(names: Iterable[str]) -> dict[str, str]:
    """Return column of a record -> column of the table.

    `class` is the taxonomic rank beside other ranks, and the label where it stands alone.
    """
    matched = {target: name for target in DESCRIPTIVE if (name := find_column(names, ALIASES[target])) is not None}
    alone = not any(rank in matched for rank in RANKS if rank != "class")
    if alone and "class" in matched and "label" not in matched:
        matched["label"] = matched.pop("class")
    return matched


def _gather(others: Mapping[str, Values], nested: Values) -> list[str | None]:
    names = list(others)
    rows = zip(*others.values(), strict=True) if others else ((),) * len(nested)
    return [
        dump_metadata(load_metadata_cell(cell) | dict(zip(names, row, strict=True)))
        for cell, row in zip(nested, rows, strict=True)
    ]


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
