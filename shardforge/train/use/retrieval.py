"""A search of many queries: what is found for each, how good that is, and how it looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from shardforge.progress import Progress
from shardforge.train.use.examples import Examples
from shardforge.train.use.quality import Quality
from shardforge.train.use.row_file import Write
from shardforge.train.use.search import GALLERY_BLOCK, QUERY_BLOCK, Found, search, split_rows
from shardforge.train.use.sheet import Tile

HITS = pa.schema(
    {
        "query": pa.string(),
        "query_class": pa.string(),
        "rank": pa.int32(),
        "key": pa.string(),
        "class": pa.string(),
        "score": pa.float32(),
    }
)


class Retrieval:
    """A search of queries in a gallery; an image is never found for itself (the same key)."""

    def __init__(self, queries: Examples, gallery: Examples, top_k: int, device: torch.device) -> None:
        self.queries, self.gallery = queries, gallery
        self.quality = Quality(top_k)
        #: What was found for the first block of queries.
        self.first: Found | None = None
        self._top_k, self._device = min(top_k, len(gallery.keys)), device
        self._own = pc.index_in(queries.keys, value_set=gallery.keys).fill_null(-1).to_numpy().astype(np.int64)
        self._labels = _number_alike(queries, gallery)
        highest = int(self._labels.max(initial=0))
        self._class_sizes = np.bincount(gallery.labels[gallery.labels >= 0], minlength=highest + 1)

    def run(self, write: Write | None, progress: Progress) -> None:
        """Search for all queries."""
        for rows, vectors in split_rows(self.queries.blocks(QUERY_BLOCK)):
            own = torch.from_numpy(self._own[rows]).to(self._device)
            found = search(vectors.to(self._device), self.gallery.blocks(GALLERY_BLOCK), self._top_k, own)
            found = Found(found.scores.cpu(), found.rows.cpu())
            self.first = self.first or found
            self._measure(rows, found)
            if write is not None:
                write(self._hits(rows, found))
            progress("queries", rows.stop, len(self.queries.keys))

    def _measure(self, rows: slice, found: Found) -> None:
        labels, own, of_gallery = self._labels[rows], self._own[rows], self.gallery.labels
        relevant = np.where(labels >= 0, self._class_sizes[labels], 0)
        relevant -= (own >= 0) & (of_gallery[own] == labels)
        found_labels = np.where(found.rows >= 0, of_gallery[found.rows], -1)
        self.quality.add(*map(torch.from_numpy, (labels, found_labels, relevant)))

    def _hits(self, rows: slice, found: Found) -> pa.Table:
        hits = [
            {
                "query": self.queries.keys[query].as_py(),
                "query_class": self.queries.class_of(query),
                "rank": rank,
                "key": self.gallery.keys[row].as_py(),
                "class": self.gallery.class_of(row),
                "score": score,
            }
            for query, scores, numbers in zip(
                range(rows.start, rows.stop), found.scores.tolist(), found.rows.tolist(), strict=True
            )
            for rank, (score, row) in enumerate(zip(scores, numbers, strict=True), 1)
            if row >= 0
        ]
        return pa.Table.from_pylist(hits, HITS)

    def tiles(self, count: int) -> list[list[Tile]]:
        """Return the first queries and what was found for them."""
        assert self.first is not None
        rows = []
        for query, (scores, numbers) in enumerate(zip(*(part[:count].tolist() for part in self.first), strict=True)):
            wanted = self.queries.class_of(query)
            row = [Tile(self.queries.picture(query), (Path(self.queries.keys[query].as_py()).name, wanted or ""))]
            for score, number in zip(scores, numbers, strict=True):
                if number >= 0:
                    name = self.gallery.class_of(number)
                    hit = None if wanted is None or name is None else wanted == name
                    caption = (f"{score:.3f}  {name or ''}", Path(self.gallery.keys[number].as_py()).name)
                    row.append(Tile(self.gallery.picture(number), caption, hit))
            rows.append(row)
        return rows


def _number_alike(queries: Examples, gallery: Examples) -> npt.NDArray[np.int64]:
    """Return the queries' labels as the gallery numbers its classes, -1 for those that it does not know."""
    if queries.classes is None or gallery.classes is None or list(queries.classes) == list(gallery.classes):
        return queries.labels
    numbers = {name: number for number, name in enumerate(gallery.classes)}
    # One more at the end, for label -1 to find.
    new = np.array([*(numbers.get(name, -1) for name in queries.classes), -1], np.int64)
    return new[queries.labels]
