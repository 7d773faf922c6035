"""How good a classifier is: counted exactly over all ranks, whatever the batches were."""

from __future__ import annotations

import torch
from torch import Tensor

from shardforge.train.distributed import Ranks

_TOP = 5


class Classification:
    """Counts of a classifier's answers: accuracy, and precision, recall and F1 as means over the classes there are."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._classes = classes
        # Images, right ones, right ones among the first five, sum of losses.
        self._sums = torch.zeros(4, dtype=torch.float64, device=device)
        # Of each class: images, answers, right answers.
        self._counts = torch.zeros(3, classes, dtype=torch.int64, device=device)
        self._pairs: list[Tensor] = []

    def add(self, logits: Tensor, labels: Tensor, valid: Tensor) -> None:
        """Count a batch: logits [B, classes], labels int64 [B], and which rows count."""
        logits, labels = logits[valid].float(), labels[valid]
        answers = logits.argmax(1)
        best = logits.topk(min(_TOP, self._classes), 1).indices
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        right = answers == labels
        found = (best == labels[:, None]).any(1)
        self._sums += torch.stack([torch.tensor(float(len(labels))), right.sum(), found.sum(), losses]).to(self._sums)
        for row, classes in enumerate((labels, answers, labels[right])):
            self._counts[row] += torch.bincount(classes, minlength=self._classes)
        self._pairs.append((labels * self._classes + answers).cpu())

    def results(self, ranks: Ranks) -> dict[str, float]:
        """Return the figures over all ranks."""
        images, right, found, losses = ranks.add_up(self._sums).tolist()
        truth, answers, hits = ranks.add_up(self._counts).double()
        there = truth > 0
        recall = hits / truth.clamp(min=1)
        precision = hits / answers.clamp(min=1)
        f1 = 2 * hits / (truth + answers).clamp(min=1)
        return {
            "validation_images": images,
            "validation_loss": losses / max(1, images),
            "top1": right / max(1, images),
            "top5": found / max(1, images),
            "precision": float(precision[there].mean()),
            "recall": float(recall[there].mean()),
            "f1": float(f1[there].mean()),
        }

    def confusions(self, ranks: Ranks) -> list[tuple[int, int, int]]:
        """Return (class, answer, images) over all ranks, for the pairs there are."""
        every = [pairs for gathered in ranks.gather(self._pairs) for pairs in gathered]
        pairs, counts = torch.unique(torch.cat(every), return_counts=True)
        return [
            (pair // self._classes, pair % self._classes, count)
            for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)
        ]
