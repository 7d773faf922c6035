"""Leaks as files: a CSV that `shardforge split --exclude` takes as it is, and the closest pairs as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from shardforge.duplicates.leaks import Leaks
from shardforge.duplicates.sheet import Picture, PicturePair, caption, mapped_picture, write_sheet
from shardforge.files import atomic_write
from shardforge.mapping import Mapping

LEAKS_FILE = "leaks.csv"
SHEET_FILE = "leaks.png"

_SHOWN_PAIRS = 24
_COLUMNS = (
    *("key", "reason", "kind", "distance", "image", "image_label", "image_split"),
    *("against", "against_image", "against_label", "excluded"),
)
# Identical files need no picture to be believed; near ones come first.
_SHOWN_ORDER = [("kind", "descending"), ("distance", "ascending"), ("key", "ascending")]


def write_leaks(mapping: Mapping, found: Sequence[Leaks], folder: Path) -> None:
    """Write `leaks.csv`, a row for each image of the mapping and each collection that has it, and `leaks.png`.

    Raises:
        DatasetError: the folder cannot be written.
    """
    tables = [_rows(leaks) for leaks in found]
    with atomic_write(folder / LEAKS_FILE) as file:
        pacsv.write_csv(pa.concat_tables(tables), file)
    shown = [_draw_row(mapping, leaks, row) for leaks in found for row in _first_shown(leaks)]
    write_sheet(folder / SHEET_FILE, shown[:_SHOWN_PAIRS])


def _rows(leaks: Leaks) -> pa.Table:
    """Return the rows of the CSV; `key` and `reason` are what an exclusion list reads.

    Images that a list keeps out already stand there, too: excluding by this file would else let them in again.
    """
    rows = leaks.rows
    name = leaks.collection.name
    others = leaks.collection.rows.take(rows["number"])
    reasons = [f"{kind} duplicate of {name}" for kind in rows["kind"].to_pylist()]
    described = [rows[column] for column in ("kind", "distance", "image", "label", "split")]
    columns = [rows["key"], pa.array(reasons, pa.string()), *described]
    columns += [pa.repeat(name, rows.num_rows), others["path"], others["label"], pc.equal(rows["excluded"], 1)]
    return pa.table(columns, _COLUMNS)


def _first_shown(leaks: Leaks) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = leaks.open.sort_by(_SHOWN_ORDER).slice(0, _SHOWN_PAIRS).to_pylist()
    return rows


def _draw_row(mapping: Mapping, leaks: Leaks, row: dict[str, Any]) -> PicturePair:
    [other] = leaks.collection.rows.slice(row["number"], 1).to_pylist()
    name = leaks.collection.name
    return PicturePair(
        f"{row['kind']}, distance {row['distance']}",
        mapped_picture(mapping, row["key"], caption(row["image"], row["label"], row["split"])),
        Picture(
            caption(f"{Path(name).name}:{other['path']}", other["label"], None),
            *(other[column] for column in ("root", "path", "offset", "bytes", "mtime")),
        ),
    )
