"""Draws other than each sample once: by class and by weight. Each is a function of seed, pass and position alone.

Shares are met by counting, not by chance. The draws of a pass are dealt to the classes in proportion and then
permuted, so a class is off its share by less than one draw a pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from shardforge.errors import UsageError
from shardforge.loader.order import Sampler, digest_array
from shardforge.loader.randomness import Int64Array, derive_key, hash_counters, hash_fractions, permute

FloatArray = npt.NDArray[np.float64]


def divide_draws(draws: int, weights: FloatArray) -> Int64Array:
    """Return boundaries that cut `draws` into as many runs as there are weights, each within one of its share."""
    shares = np.concatenate([[0.0], np.cumsum(weights)])
    bounds: Int64Array = np.rint(shares * (draws / shares[-1])).astype(np.int64)
    return bounds


class ClassSampler(Sampler):
    """Classes in proportion to `weights` (default: all alike); a class goes through its samples before it repeats one.

    `labels` holds the class of each sample, -1 for none: such samples are never drawn. A pass has as many draws as
    there are labelled samples, or `samples`. The rounds of a class reach over passes.
    """

    def __init__(
        self, labels: npt.NDArray[np.int32], *, seed: int, weights: FloatArray | None = None, samples: int | None = None
    ) -> None:
        counts = np.bincount(labels[labels >= 0])
        if not len(counts):
            raise UsageError("class-balanced sampling: no sample has a label; choose another sampler, or give labels")
        if weights is None:
            weights = (counts > 0).astype(np.float64)
        _check_class_weights(weights, counts)
        self.samples = int(counts.sum()) if samples is None else samples
        self._seed = seed
        self._counts = counts
        self._bounds = divide_draws(self.samples, weights)
        self._members = _group_by_class(labels)
        self._starts = np.cumsum(counts) - counts

    def take_in_pass(self, number: int, start: int, stop: int) -> Int64Array:
        """Return the sample numbers at positions [start, stop) of a pass."""
        draw = permute(np.arange(start, stop), self.samples, derive_key(self._seed, number, 0))
        label = np.searchsorted(self._bounds, draw, side="right") - 1
        quota = self._bounds[label + 1] - self._bounds[label]
        round_, place = np.divmod(number * quota + draw - self._bounds[label], self._counts[label])
        key = hash_counters(hash_counters(derive_key(self._seed, 1), label), round_)
        member = self._starts[label] + permute(place, self._counts[label], key)
        found: Int64Array = self._members[member].astype(np.int64)
        return found

    def describe(self) -> dict[str, Any]:
        """Return kind, seed and digests of classes and shares."""
        digests = {"members": digest_array(self._members), "shares": digest_array(self._bounds)}
        return {"kind": "classes", "seed": self._seed, "samples": self.samples, **digests}


class WeightedSampler(Sampler):
    """Samples with replacement in proportion to their weights; a weight of 0 is never drawn.

    The weights are laid end to end and cut into as many equal stretches as a pass has draws (default: as there are
    weights): each draw is a random point of its own stretch. So a sample is drawn as often as independent draws would
    have it in the mean, and in every pass within two of that.
    """

    def __init__(self, weights: FloatArray, *, seed: int, samples: int | None = None) -> None:
        _check_weights(weights)
        self.samples = len(weights) if samples is None else samples
        self._seed = seed
        self._ends = np.cumsum(weights, dtype=np.float64)
        self._last = int(np.flatnonzero(weights)[-1])

    def take_in_pass(self, number: int, start: int, stop: int) -> Int64Array:
        """Return the sample numbers at positions [start, stop) of a pass."""
        draw = permute(np.arange(start, stop), self.samples, derive_key(self._seed, number, 0))
        points = (draw + hash_fractions(derive_key(self._seed, number, 1), draw)) * (self._ends[-1] / self.samples)
        # Searching in ascending order goes through memory once: four times as fast with 10^7 weights.
        ascending = np.argsort(points)
        found = np.empty(len(points), np.int64)
        found[ascending] = np.searchsorted(self._ends, points[ascending], side="right")
        return np.minimum(found, self._last)

    def describe(self) -> dict[str, Any]:
        """Return kind, seed and a digest of the weights."""
        return {"kind": "weighted", "seed": self._seed, "samples": self.samples, "weights": digest_array(self._ends)}


def _group_by_class(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.uint32]:
    """Return the numbers of the labelled samples, ascending in each class, the classes laid end to end."""
    samples = np.flatnonzero(labels >= 0)
    # Label and number in one word: three times as fast as a stable argsort, with the same outcome.
    words = labels[samples].astype(np.uint64) << np.uint64(32) | samples.astype(np.uint64)
    words.sort()
    return words.astype(np.uint32)


def _check_weights(weights: FloatArray) -> None:
    with np.errstate(over="ignore"):
        total = np.sum(weights, dtype=np.float64)
    if not ((weights >= 0).all() and 0 < total < np.inf):
        raise UsageError("sampling weights must be at least 0, one of them above 0, and their sum finite")


def _check_class_weights(weights: FloatArray, counts: Int64Array) -> None:
    _check_weights(weights)
    if len(weights) != len(counts) or weights[counts == 0].any():
        empty = np.flatnonzero(counts == 0)[:1]
        where = f"class {empty[0]} has no sample" if len(empty) and len(weights) == len(counts) else ""
        raise UsageError(
            f"sampling weights: expected {len(counts)} of them, one a class and 0 for a class without samples; "
            f"found {len(weights)} {where}".rstrip()
        )
