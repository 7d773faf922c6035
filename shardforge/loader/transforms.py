"""Geometry of training images: which part of each image becomes the pixels of a batch, and which are mirrored.

Each transform plans a whole batch at once, from the images' sizes and a random 64-bit number for each of them (a
`draw`). The plan is a function of these alone, so that it is the same in every worker and after every resume.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shardforge.errors import UsageError
from shardforge.loader.randomness import UInt64Array, hash_fractions

IntArray = npt.NDArray[np.int64]
_ATTEMPTS = 10  # as torchvision: then the whole image, cut to the nearest allowed shape


class Plan(NamedTuple):
    """What becomes of each image: box (left, top, right, bottom) in its pixels, shape [n, 4], and whether to mirror."""

    boxes: npt.NDArray[np.float64]
    flips: npt.NDArray[np.bool_]


class BatchTransform(ABC):
    """Cuts a box out of each image and resizes it to one size."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height of the result."""

    @abstractmethod
    def plan(self, widths: IntArray, heights: IntArray, draws: UInt64Array) -> Plan:
        """Return what becomes of images of these sizes."""


@dataclass(frozen=True)
class RandomResizedCrop(BatchTransform):
    """A box of random area and shape, resized to a square, and mirrored with probability `flip`.

    Attributes:
        side: pixels of the result along both axes.
        scale: bounds of the box's share of the image's area.
        ratio: bounds of its width over height, drawn evenly on a log scale.
    """

    side: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.side < 1 or not 0 < self.scale[0] <= self.scale[1] or not 0 < self.ratio[0] <= self.ratio[1]:
            raise UsageError(f"{self}: side, scale and ratio must be above 0, and their bounds in ascending order")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result."""
        return self.side, self.side

    def plan(self, widths: IntArray, heights: IntArray, draws: UInt64Array) -> Plan:
        """Return the first of ten random boxes that lies inside each image, or else its centre."""
        chance = hash_fractions(draws[:, None], np.arange(2 * _ATTEMPTS + 3))
        areas = (widths * heights)[:, None] * _between(*self.scale, chance[:, :_ATTEMPTS])
        low, high = (math.log(bound) for bound in self.ratio)
        shapes = np.exp(_between(low, high, chance[:, _ATTEMPTS : 2 * _ATTEMPTS]))
        box_widths, box_heights = np.rint(np.sqrt(areas * shapes)), np.rint(np.sqrt(areas / shapes))
        fits = (box_widths > 0) & (box_widths <= widths[:, None]) & (box_heights > 0)
        fits &= box_heights <= heights[:, None]
        row, first = np.arange(len(draws)), fits.argmax(axis=1)
        found = fits[row, first]
        whole_widths, whole_heights = self._widest(widths, heights)
        width = np.where(found, box_widths[row, first], whole_widths)
        height = np.where(found, box_heights[row, first], whole_heights)
        # A random place among the whole pixels; the centre where no box was found.
        across = np.where(found, chance[:, -3], 0.5) * (widths - width + found)
        down = np.where(found, chance[:, -2], 0.5) * (heights - height + found)
        left, top = np.floor(across), np.floor(down)
        return Plan(np.stack([left, top, left + width, top + height], axis=1), chance[:, -1] < self.flip)

    def _widest(self, widths: IntArray, heights: IntArray) -> tuple[np.ndarray, np.ndarray]:
        """Return the size of each whole image, cut to the nearest shape that `ratio` allows."""
        low, high = self.ratio
        box_widths = np.minimum(widths, np.rint(heights * high))
        box_heights = np.minimum(heights, np.rint(widths / low))
        return np.maximum(box_widths, 1), np.maximum(box_heights, 1)


@dataclass(frozen=True)
class CenterCrop(BatchTransform):
    """The square in the middle that a resize of the short side to `side / share` and a crop of `side` would keep."""

    side: int
    share: float = 0.875

    def __post_init__(self) -> None:
        if self.side < 1 or not 0 < self.share <= 1:
            raise UsageError(f"{self}: the side must be at least 1, and the share above 0 and at most 1")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result."""
        return self.side, self.side

    def plan(self, widths: IntArray, heights: IntArray, draws: UInt64Array) -> Plan:
        """Return the centred square of each image."""
        half = np.minimum(widths, heights) * (self.share / 2)
        x, y = widths / 2, heights / 2
        return Plan(np.stack([x - half, y - half, x + half, y + half], axis=1), np.zeros(len(draws), bool))


@dataclass(frozen=True)
class Squash(BatchTransform):
    """The whole image, whatever its shape."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise UsageError(f"{self}: both sides must be at least 1")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result."""
        return self.width, self.height

    def plan(self, widths: IntArray, heights: IntArray, draws: UInt64Array) -> Plan:
        """Return the whole of each image."""
        nothing = np.zeros(len(draws))
        return Plan(np.stack([nothing, nothing, widths, heights], axis=1), np.zeros(len(draws), bool))


def _between(low: float, high: float, fractions: np.ndarray) -> np.ndarray:
    return low + (high - low) * fractions
