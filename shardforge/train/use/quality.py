"""How good a search is, where images of one class are what it should find.

- recall@k: the share of queries that have an image of their class among the first k.
- mAP@K: the mean over queries of average precision, which is the sum of the precisions at the hits among the first K,
  divided by K or the number of images of the class in the gallery, whichever is less. With K as large as the gallery it
  is mean average precision over the whole ranking.

Queries whose class the gallery has no image of, other than the query itself, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RECALLS = (1, 5, 10)


class Quality:
    """Sums over queries."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._at = [recall for recall in RECALLS if recall <= k]
        self._recalls = torch.zeros(len(self._at), dtype=torch.float64)
        self._precision = 0.0
        self.queries = 0

    def add(self, labels: Tensor, found: Tensor, relevant: Tensor) -> None:
        """Count queries.

        Args:
            labels: int64 [Q], their classes.
            found: int64 [Q, K], the classes of what was found, the best first; negative for none.
            relevant: int64 [Q], how many images of the class the gallery has.
        """
        counts = (relevant > 0) & (labels >= 0)
        labels, found, relevant = labels[counts], found[counts], relevant[counts]
        hits = (found == labels[:, None]).double()
        precisions = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
        self._precision += float(((precisions * hits).sum(1) / relevant.clamp(max=self._k)).sum())
        self._recalls += torch.stack([hits[:, :at].amax(1).sum() for at in self._at])
        self.queries += len(labels)

    def results(self) -> dict[str, float]:
        """Return the figures; none where no query counts."""
        if not self.queries:
            return {}
        recalls: Sequence[float] = (self._recalls / self.queries).tolist()
        shares = {f"recall@{at}": share for at, share in zip(self._at, recalls, strict=True)}
        return {"queries": self.queries, f"mAP@{self._k}": self._precision / self.queries, **shares}
