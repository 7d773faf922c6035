"""Leaks: images of the mapping that other data holds, too, such as the test set of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.duplicates import DEFAULT_DISTANCE, MIN_QUALITY
from shardforge.duplicates.clusters import distinct_hashes
from shardforge.duplicates.collection import Collection
from shardforge.duplicates.pairs import SIDE
from shardforge.duplicates.search import find_nearest
from shardforge.duplicates.store import parse_hashes, read_hashes
from shardforge.mapping import Mapping

_SCHEMA = pa.schema(
    [
        *((name, pa.string() if name == "kind" else pa.int64()) for name in ("kind", "distance", "number")),
        *((name, pa.string()) for name in SIDE),
        ("excluded", pa.int64()),
    ]
)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Leaks:
    """What a mapping and a collection share.

    Attributes:
        collection: the other data.
        rows: one row per image of the mapping that is in it: kind, distance, number (the row in the collection of the
            nearest image), key, image, label, split, excluded (1 when an exclusion list keeps it out already).
        exact: images of the collection whose bytes are in the mapping.
        near: other images of it whose picture is.
        low_quality: images of it that show too little to be compared by their picture.
    """

    collection: Collection
    rows: pa.Table
    exact: int
    near: int
    low_quality: int

    @property
    def open(self) -> pa.Table:
        """The rows that no exclusion list keeps out."""
        return self.rows.filter(pc.equal(self.rows["excluded"], 0))


def find_leaks(
    mapping: Mapping,
    collection: Collection,
    *,
    distance: int = DEFAULT_DISTANCE,
    min_quality: int = MIN_QUALITY,
    split_run: str = "default",
    progress: Progress = lambda stage, done, total: None,
) -> Leaks:
    """Return the images of the mapping, hashed before, whose bytes or picture are in the collection.

    Raises:
        UsageError: the distance is out of range.
    """
    rows = collection.rows
    clear = np.flatnonzero(pc.fill_null(pc.greater_equal(rows["quality"], min_quality), False))
    near, met = _match_pictures(mapping, rows.take(pa.array(clear)), distance, min_quality, progress)
    near = near.set_column(2, "number", pa.array(clear).take(near["number"]))
    exact = _one_per_content(rows)
    near = near.filter(pc.invert(pc.is_in(near["content_hash"], value_set=exact["content_hash"])))
    found = _look_up(mapping, pa.concat_tables([exact, near]), split_run)
    shared = rows["content_hash"].take(found.filter(pc.equal(found["kind"], "exact"))["number"])
    is_exact = pc.is_in(rows["content_hash"], value_set=shared).to_numpy()
    is_near = np.zeros(rows.num_rows, np.bool_)
    is_near[clear[met]] = True
    return Leaks(
        collection=collection,
        rows=found,
        exact=int(is_exact.sum()),
        near=int((is_near & ~is_exact).sum()),
        low_quality=rows.num_rows - rows["hash"].null_count - len(clear),
    )


def _match_pictures(
    mapping: Mapping, rows: pa.Table, distance: int, min_quality: int, progress: Progress
) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """Return the mapped contents that are near one of the rows, the nearest; and which rows are near any content."""
    contents, hashes = read_hashes(mapping, min_quality)
    distinct, hash_of = distinct_hashes(hashes)
    nearest, apart, met = find_nearest(distinct, parse_hashes(rows["hash"]), distance, progress=progress)
    found = np.flatnonzero(nearest[hash_of] >= 0)
    of_found = hash_of[found]
    return _leaking("near", contents.take(pa.array(found)), nearest[of_found], apart[of_found]), met


def _one_per_content(rows: pa.Table) -> pa.Table:
    """Return every content of the collection with the first of its rows."""
    numbered = rows.select(["content_hash"]).append_column("number", pa.array(np.arange(rows.num_rows)))
    firsts = numbered.group_by("content_hash").aggregate([("number", "min")])
    return _leaking("exact", firsts["content_hash"], firsts["number_min"], np.zeros(firsts.num_rows, np.int64))


def _leaking(kind: str, contents: pa.ChunkedArray, numbers: Any, distances: npt.NDArray[np.int64]) -> pa.Table:
    columns = {"content_hash": contents, "kind": pa.repeat(kind, len(contents)), "number": numbers}
    return pa.table({**columns, "distance": distances}).combine_chunks()


def _look_up(mapping: Mapping, leaking: pa.Table, split_run: str) -> pa.Table:
    """Return the usable images that have one of the contents."""
    mapping.execute("CREATE TEMP TABLE leaking (content_hash VARCHAR, kind VARCHAR, number BIGINT, distance BIGINT)")
    mapping.insert("leaking", leaking)
    mapping.index("leaking", "content_hash")
    found = [batch.cast(_SCHEMA) for batch in mapping.batches(mapping.query("select_leaks"), name=split_run)]
    mapping.execute("DROP TABLE leaking")
    return pa.concat_tables([_SCHEMA.empty_table(), *found]).combine_chunks()
