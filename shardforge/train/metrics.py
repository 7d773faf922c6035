"""How good a classifier is: counted exactly over all ranks, whatever the batches were.

The counts are a metric of torchmetrics, which adds them up over the ranks. Its own metrics of classes make a table of
classes x classes for each batch, 800 MB at 10,000 classes, and one of rows x classes for the best five. Here a class
takes three numbers, and the confusion matrix is a list of the pairs that occur.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from shardforge.train.distributed import Ranks

_TOP = 5


class ClassScores(Metric):
    """Accuracy, mean loss, and precision, recall and F1 as means over the classes that have images."""

    full_state_update = False
    right: Tensor
    found: Tensor
    losses: Tensor
    images: Tensor
    answers: Tensor
    hits: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self._classes = classes
        for name in ("right", "found"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("losses", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("images", "answers", "hits"):
            self.add_state(name, torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, best: Tensor, labels: Tensor, losses: Tensor) -> None:
        """Count a batch: its best answers int64 [B, answers], labels int64 [B], and the sum of losses; B may be 0."""
        same = best == labels[:, None]
        self.right += same[:, 0].sum()
        self.found += same.sum()
        self.losses += losses
        self.images += self._count(labels)
        self.answers += self._count(best[:, 0])
        self.hits += self._count(labels[same[:, 0]])

    def compute(self) -> dict[str, Tensor]:
        """Return the figures."""
        images, answers, hits = self.images.double(), self.answers.double(), self.hits.double()
        total, there = images.sum(), images > 0
        return {
            "validation_images": total,
            "validation_loss": self.losses / total,
            "top1": self.right / total,
            "top5": self.found / total,
            "precision": (hits / answers.clamp(min=1))[there].mean(),
            "recall": (hits / images.clamp(min=1))[there].mean(),
            "f1": (2 * hits / (images + answers).clamp(min=1))[there].mean(),
        }

    def _count(self, classes: Tensor) -> Tensor:
        return torch.bincount(classes, minlength=self._classes)


class Classification:
    """What a classifier answered: its scores, and which classes it took for which."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._classes = classes
        self._scores = ClassScores(classes).to(device)
        self._pairs = self._times = torch.empty(0, dtype=torch.int64)

    def add(self, logits: Tensor, labels: Tensor, valid: Tensor) -> None:
        """Count a batch: logits [B, classes], labels int64 [B], and which rows count."""
        logits, labels = logits[valid].float(), labels[valid]
        best = logits.topk(min(_TOP, self._classes), 1).indices
        self._scores.update(best, labels, torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        pairs = (labels * self._classes + best[:, 0]).cpu()
        self._pairs, self._times = _join_counts([(self._pairs, self._times), (pairs, torch.ones_like(pairs))])

    def results(self, ranks: Ranks) -> dict[str, float]:
        """Return the figures over all ranks, between which torchmetrics adds up."""
        return {name: float(value) for name, value in self._scores.compute().items()}

    def confusions(self, ranks: Ranks) -> list[tuple[int, int, int]]:
        """Return (class, answer, images) over all ranks, for the pairs there are."""
        pairs, times = _join_counts(ranks.gather((self._pairs, self._times)))
        return [
            (pair // self._classes, pair % self._classes, images)
            for pair, images in zip(pairs.tolist(), times.tolist(), strict=True)
        ]


def _join_counts(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the different numbers of several lists of them, ascending, and the sum of each one's counts."""
    numbers, places = torch.unique(torch.cat([numbers for numbers, _ in parts]), return_inverse=True)
    counts = torch.zeros_like(numbers).index_add_(0, places, torch.cat([counts for _, counts in parts]))
    return numbers, counts
