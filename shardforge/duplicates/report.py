"""What a search for duplicates found: counts, the largest clusters, and on request every pair and a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from shardforge.duplicates.clusters import Clusters
from shardforge.duplicates.pairs import PAIR_SCHEMA, SIDE, iter_pairs, keep_worst
from shardforge.duplicates.sheet import PicturePair, caption, mapped_picture, write_sheet
from shardforge.duplicates.store import count_unsearched
from shardforge.files import atomic_write
from shardforge.mapping import Mapping

PAIRS_FILE = "pairs.csv"
SHEET_FILE = "pairs.png"

_LARGEST = 10
_SHOWN_PAIRS = 24


@dataclass(frozen=True)
class KindCount:
    """Clusters of one kind, exact or near; `extra_images` are those beyond the first of each cluster.

    `across_splits` is None when there is no such split run.
    """

    kind: str
    clusters: int
    images: int
    extra_images: int
    across_sources: int
    across_labels: int
    across_splits: int | None


@dataclass(frozen=True)
class LargeCluster:
    """A cluster of images with the same picture, exact and near together, named by its smallest content hash.

    `splits` is None when there is no such split run.
    """

    cluster: str
    images: int
    contents: int
    sources: int
    labels: int
    splits: int | None
    first_image: str


@dataclass(frozen=True)
class DuplicateReport:
    """Counts by kind, the largest clusters, and usable images that were not compared by picture, by why."""

    kinds: tuple[KindCount, ...]
    largest: tuple[LargeCluster, ...]
    unsearched: dict[str, int]


def count_duplicates(mapping: Mapping, split_run: str) -> DuplicateReport:
    """Return the counts of what is stored, with the splits of one run (that need not exist)."""
    counted = {row[0]: KindCount(*row) for row in mapping.rows(mapping.query("select_duplicate_kinds"), name=split_run)}
    kinds = [counted.get(kind, KindCount(kind, 0, 0, 0, 0, 0, 0)) for kind in ("exact", "near")]
    rows = mapping.rows(mapping.query("select_largest_clusters"), name=split_run, most=_LARGEST)
    largest = [LargeCluster(*row) for row in rows]
    if not mapping.rows("SELECT 1 FROM split_runs WHERE name = $name", name=split_run):
        kinds = [replace(kind, across_splits=None) for kind in kinds]
        largest = [replace(cluster, splits=None) for cluster in largest]
    [(min_quality,)] = mapping.rows("SELECT min_quality FROM near_duplicate_searches")
    return DuplicateReport(
        kinds=tuple(kinds),
        largest=tuple(largest),
        unsearched=count_unsearched(mapping, min_quality),
    )


def write_pairs(mapping: Mapping, clusters: Clusters, split_run: str, folder: Path) -> int:
    """Write `pairs.csv`, the pairs of `iter_pairs`, and `pairs.png`, the worst side by side; return their number.

    Without pairs there is no `pairs.png`.

    Raises:
        DatasetError: the folder cannot be written.
    """
    worst: pa.Table | None = None
    pairs = 0
    with atomic_write(folder / PAIRS_FILE) as file, pacsv.CSVWriter(file, PAIR_SCHEMA) as writer:
        for table in iter_pairs(mapping, clusters, split_run):
            writer.write_table(table)
            worst = keep_worst(worst, table, _SHOWN_PAIRS)
            pairs += table.num_rows
    write_sheet(folder / SHEET_FILE, [_draw_row(mapping, row) for row in worst.to_pylist()] if worst else [])
    return pairs


def _draw_row(mapping: Mapping, row: dict[str, Any]) -> PicturePair:
    notes = [f"{row['kind']}, distance {row['distance']}"]
    notes += ["across splits"] * row["leak"] + ["labels differ"] * row["conflict"]
    left, right = (
        mapped_picture(mapping, row[f"{side}key"], caption(*(row[f"{side}{name}"] for name in SIDE[1:])))
        for side in ("", "other_")
    )
    return PicturePair("; ".join(notes), left, right)
