"""Search by example: for each vector the nearest of many, by cosine similarity, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardforge.train.neighbours import find_nearest

#: Rows of a block: of queries, which share a pass over the gallery, and of the gallery.
QUERY_BLOCK, GALLERY_BLOCK = 4_096, 2_048


class Found(NamedTuple):
    """The best first: similarity and row of the gallery, both [queries, k]; -inf and -1 where there are fewer."""

    scores: Tensor
    rows: Tensor


def search(queries: Tensor, gallery: Iterable[npt.NDArray[np.float32]], k: int, own: Tensor) -> Found:
    """Return the k nearest rows of a gallery for each query.

    Args:
        queries: float32 [Q, width], on the device to compute on.
        gallery: blocks of vectors.
        k: how many.
        own: int64 [Q], the row of the gallery that is the query itself and no answer to it, -1 for none.
    """
    queries = torch.nn.functional.normalize(queries, dim=1)
    # One more than asked for, since the query itself may be among them.
    best = Found(queries.new_full((len(queries), k + 1), -torch.inf), own.new_full((len(queries), k + 1), -1))
    first = 0
    for block in gallery:
        features = torch.nn.functional.normalize(torch.from_numpy(block).to(queries), dim=1)
        numbers = torch.arange(first, first + len(block), device=queries.device)
        best = _keep_best(best, *find_nearest(queries, features, numbers, k + 1))
        first += len(block)
    scores = best.scores.masked_fill(best.rows == own[:, None], -torch.inf)
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    scores = scores.gather(1, order)
    return Found(scores, best.rows.gather(1, order).masked_fill(scores.isinf(), -1))


def split_rows(blocks: Iterable[npt.NDArray[np.float32]]) -> Iterator[tuple[slice, Tensor]]:
    """Yield each block with the rows that it holds."""
    first = 0
    for block in blocks:
        yield slice(first, first + len(block)), torch.from_numpy(block)
        first += len(block)


def _keep_best(best: Found, scores: Tensor, rows: Tensor) -> Found:
    together = torch.cat([best.scores, scores], dim=1)
    nearest = together.topk(best.scores.shape[1], dim=1)
    return Found(nearest.values, torch.cat([best.rows, rows], dim=1).gather(1, nearest.indices))
