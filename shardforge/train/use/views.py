"""Test-time augmentation: one answer for each image, averaged over several views of it.

| kind | views |
|---|---|
| (always) | the image as in plain evaluation |
| crops | its four corners and its centre, each 87.5% of both sides |
| scales | its centre at 87.5% and at 75% of both sides |
| flip | each of the other views mirrored, too |

Each part is cut out of the image in full resolution and resized to the model's size. What is averaged are
probabilities (after softmax), all views counting alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shardforge.loader.randomness import UInt64Array
from shardforge.loader.transforms import BatchTransform, IntArray, Plan

KINDS = ("flip", "crops", "scales")

#: Share of both sides, and how far from left and top the part lies, 0 to 1.
_PARTS = {
    "crops": ((0.875, 0.5, 0.5), (0.875, 0, 0), (0.875, 1, 0), (0.875, 0, 1), (0.875, 1, 1)),
    "scales": ((0.875, 0.5, 0.5), (0.75, 0.5, 0.5)),
}


@dataclass(frozen=True)
class Part(BatchTransform):
    """A part of what another transform keeps of an image.

    Attributes:
        whole: the other transform.
        share: the part's share of both sides.
        across: where the part lies between left, 0, and right, 1.
        down: where it lies between top and bottom.
    """

    whole: BatchTransform
    share: float
    across: float
    down: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result."""
        return self.whole.size

    def plan(self, widths: IntArray, heights: IntArray, draws: UInt64Array) -> Plan:
        """Return the part of each image's box."""
        boxes, flips = self.whole.plan(widths, heights, draws)
        sides = boxes[:, 2:] - boxes[:, :2]
        corner = boxes[:, :2] + (1 - self.share) * sides * (self.across, self.down)
        boxes[:, :2], boxes[:, 2:] = corner, corner + self.share * sides
        return Plan(boxes, flips)


def choose_views(kinds: Sequence[str], whole: BatchTransform) -> list[BatchTransform]:
    """Return a transform for each view that has pixels of its own; mirroring costs no reading."""
    parts = dict.fromkeys(part for kind in kinds if kind in _PARTS for part in _PARTS[kind])
    return [whole, *(Part(whole, *part) for part in parts)]


def average_answers(model: nn.Module, views: Sequence[Tensor], *, mirror: bool) -> Tensor:
    """Return the logarithms of mean probabilities, float32 [B, classes], over normalised views [B, 3, H, W]."""
    seen = [view for images in views for view in ((images, images.flip(3)) if mirror else (images,))]
    answers = torch.stack([model(images).float().log_softmax(1) for images in seen])
    return answers.logsumexp(0) - math.log(len(seen))
