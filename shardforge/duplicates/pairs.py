"""Pairs of duplicate images as rows that people read: where each lies, its label and split, and how near they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.duplicates.clusters import Clusters
from shardforge.mapping import Mapping

#: The columns of one image of a pair; those of the other one begin with "other_".
SIDE = ("key", "image", "label", "split")

PAIR_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("distance", pa.int64()),
        *((name, pa.string()) for name in SIDE),
        *((f"other_{name}", pa.string()) for name in SIDE),
    ]
)

# What a person should look at first: a leak, then a contradiction, then what is most surely the same picture.
_WORST = [("leak", "descending"), ("conflict", "descending"), ("kind", "descending"), ("distance", "ascending")]


def iter_pairs(mapping: Mapping, clusters: Clusters, split_run: str) -> Iterator[pa.Table]:
    """Yield the pairs as tables of `PAIR_SCHEMA`: exact ones, then near ones.

    An image with the same bytes as others is paired with the first of them by key; near pairs are those of
    `Clusters.pairs`, and name the first image of each content.
    """
    for batch in mapping.batches(mapping.query("select_exact_pairs"), name=split_run):
        yield batch.cast(PAIR_SCHEMA)
    images = _read_firsts(mapping, split_run)
    place = pc.fill_null(
        pc.index_in(clusters.contents, value_set=images["content_hash"].combine_chunks()), -1
    ).to_numpy()
    for left, right, distance in clusters.pairs():
        if len(left):
            yield _pair_rows(images, place[left], place[right], distance)


def keep_worst(worst: pa.Table | None, pairs: pa.Table, most: int) -> pa.Table:
    """Return the `most` pairs of two tables that a person should look at first; `worst` is the last such result."""
    for name, column in (("leak", "split"), ("conflict", "label")):
        differ = pc.fill_null(pc.not_equal(pairs[column], pairs[f"other_{column}"]), False)
        pairs = pairs.append_column(name, differ)
    both = pairs if worst is None else pa.concat_tables([worst, pairs])
    order = pc.sort_indices(both, [*_WORST, ("key", "ascending"), ("other_key", "ascending")])
    return both.take(order[:most])


def _read_firsts(mapping: Mapping, split_run: str) -> pa.Table:
    schema = pa.schema([("content_hash", pa.string()), *((name, pa.string()) for name in SIDE)])
    batches = mapping.batches(mapping.query("select_near_firsts"), name=split_run)
    return pa.concat_tables([schema.empty_table(), *(batch.cast(schema) for batch in batches)])


def _pair_rows(images: pa.Table, left: np.ndarray, right: np.ndarray, distance: np.ndarray) -> pa.Table:
    first, second = (images.take(pa.array(side)).select(SIDE) for side in (left, right))
    columns = [pa.repeat("near", len(distance)), pa.array(distance), *first.columns, *second.columns]
    return pa.table(columns, schema=PAIR_SCHEMA)
