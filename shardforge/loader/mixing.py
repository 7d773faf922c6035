"""Several datasets read as one, each in an order of its own and evenly spread over the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from shardforge.errors import UsageError
from shardforge.loader.order import Sampler
from shardforge.loader.randomness import Int64Array, derive_key, hash_fractions
from shardforge.loader.sampling import divide_draws


class Source(NamedTuple):
    """One dataset of a mixture: its order, the samples that it holds, and its weight, None for none."""

    sampler: Sampler
    size: int
    weight: float | None = None


class Mixture(Sampler):
    """Draws from several sources; sample numbers are those of the sources laid end to end.

    Without weights a pass takes one whole pass of every source. With weights a pass has `samples` draws (default: as
    many as one pass of every source together), of which each source has its share, exact to one draw; a source goes on
    in the next pass where it stopped in this one, and starts anew only when it is through.

    Draw j of the q that a source has in a pass happens at time (j + r) / q, with r random in [0, 1); the draws of all
    sources, sorted by time, are the pass. A stretch of it is had by looking only at the draws of about that time.
    """

    def __init__(self, sources: Sequence[Source], *, seed: int, samples: int | None = None) -> None:
        self._sources = tuple(sources)
        self._seed = seed
        self._quotas = _share_draws(self._sources, samples)
        self.samples = int(self._quotas.sum())
        sizes = np.array([source.size for source in sources], np.int64)
        self._offsets = np.cumsum(sizes) - sizes

    def take_in_pass(self, number: int, start: int, stop: int) -> Int64Array:
        """Return the sample numbers at positions [start, stop) of a pass."""
        # A source is never a whole draw ahead of the clock or behind it; one more covers rounding.
        early, late = start - len(self._sources), stop + len(self._sources)
        first = np.maximum(np.floor(self._quotas * (early / self.samples)).astype(np.int64) - 1, 0)
        last = np.minimum(np.ceil(self._quotas * (late / self.samples)).astype(np.int64) + 1, self._quotas)
        times = [self._times(number, source, first[source], last[source]) for source in range(len(self._sources))]
        owners = np.repeat(np.arange(len(self._sources)), last - first)
        owners = owners[np.argsort(np.concatenate(times), kind="stable")]
        skipped, wanted = np.split(owners[: stop - first.sum()], [start - first.sum()])
        begin = number * self._quotas + first + np.bincount(skipped, minlength=len(self._sources))
        return self._take_draws(wanted, begin.tolist())

    def describe(self) -> dict[str, Any]:
        """Return kind, seed, the draws of each source in a pass and the sources' own orders."""
        sources = [source.sampler.describe() for source in self._sources]
        return {"kind": "mixture", "seed": self._seed, "draws": self._quotas.tolist(), "sources": sources}

    def _times(self, number: int, source: int, first: int, last: int) -> np.ndarray:
        draws = np.arange(first, last)
        jitter = hash_fractions(derive_key(self._seed, number, source), draws)
        return np.asarray((draws + jitter) / self._quotas[source])

    def _take_draws(self, owners: Int64Array, begin: list[int]) -> Int64Array:
        """Return the next sample of each owner in turn, a source's own draws starting at `begin`."""
        samples = np.empty(len(owners), np.int64)
        for number, source in enumerate(self._sources):
            mine = np.flatnonzero(owners == number)
            samples[mine] = self._offsets[number] + source.sampler.take(begin[number], begin[number] + len(mine))
        return samples


def _share_draws(sources: Sequence[Source], samples: int | None) -> Int64Array:
    """Return how many draws of a pass each source has."""
    weights = [source.weight for source in sources if source.weight is not None]
    whole = np.array([source.sampler.samples for source in sources], np.int64)
    if not weights and samples is None:
        return whole
    if len(weights) != len(sources) or not all(weight > 0 for weight in weights) or not sum(weights) < float("inf"):
        raise UsageError("mixing: give every source a weight above 0, or none of them one and no number of samples")
    quotas = np.diff(divide_draws(int(whole.sum()) if samples is None else samples, np.array(weights)))
    if not quotas.all():
        raise UsageError(
            f"mixing: an epoch of {quotas.sum():,} samples has none of source {int(np.argmin(quotas)) + 1}; "
            "give that source more weight, or the epoch more samples"
        )
    return quotas
