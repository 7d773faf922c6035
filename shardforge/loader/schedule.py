"""Which samples make up batch k of epoch e, and which of them are a rank's.

The batches are those of the whole run: no rank and no worker has a part in what they hold, so a run may go on with
other numbers of both. Any batch is had without those before it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from shardforge.errors import UsageError
from shardforge.loader.order import Sampler
from shardforge.loader.randomness import Int64Array, UInt64Array, derive_key, hash_counters

Last = Literal["wrap", "drop", "exact"]

# Batches are worked out together up to about this many rows, which spreads the cost of calling numpy.
_CHUNK_ROWS = 16_384


class GlobalBatch(NamedTuple):
    """Rows of a batch: sample numbers, a seed for each row's random augmentation, and False where a row is padding."""

    samples: Int64Array
    draws: UInt64Array
    valid: npt.NDArray[np.bool_]


class _Chunk(NamedTuple):
    epoch: int
    first_step: int
    samples: Int64Array
    draws: UInt64Array


class Schedule:
    """The batches of every epoch, over all ranks.

    An epoch is the next `epoch_samples` draws of the sampler's sequence (default: one pass). What becomes of the last
    batch when they do not fill it: "wrap" fills it from the start of the epoch, "drop" leaves it out, "exact" makes it
    short, which is for evaluation.

    With `repeats` R each batch holds batch_size / R samples R times. An epoch has as many batches as without, so it
    shows 1 / R of the samples, and R epochs show each sample R times. The copies lie batch_size / R rows apart: on
    different ranks where there are R ranks or more.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        seed: int,
        batch_size: int,
        last: Last = "wrap",
        repeats: int = 1,
        epoch_samples: int | None = None,
    ) -> None:
        draws = sampler.samples if epoch_samples is None else epoch_samples
        _check_request(sampler, draws, batch_size, last, repeats)
        self.seed = seed
        self.batch_size = batch_size
        self.last = last
        self._sampler = sampler
        self._repeats = repeats
        self._distinct = -(-draws // repeats)
        self._rows = batch_size // repeats
        self._steps = self._distinct // self._rows if last == "drop" else -(-self._distinct // self._rows)
        self._chunk_steps = max(1, _CHUNK_ROWS // batch_size)
        self._latest: _Chunk | None = None
        if not self._steps:
            raise UsageError(
                f"global batch of {batch_size:,}: an epoch of {draws:,} samples does not fill one batch, and the last "
                "is dropped; give a smaller batch, or fill the last batch by wrapping"
            )

    def steps(self, epoch: int = 0) -> int:
        """Return the number of batches in an epoch; every epoch has as many."""
        return self._steps

    def batch(self, epoch: int, step: int) -> GlobalBatch:
        """Return a batch over all ranks: `batch_size` rows, fewer only in the last one of "exact".

        Raises:
            IndexError: the epoch has no such step.
        """
        if not 0 <= step < self._steps:
            raise IndexError(f"step {step} of an epoch of {self._steps} steps")
        first_step = step - step % self._chunk_steps
        # Held in a variable: threads may ask for batches of other chunks meanwhile.
        chunk = self._latest
        if chunk is None or (chunk.epoch, chunk.first_step) != (epoch, first_step):
            chunk = self._latest = self._work_out(epoch, first_step)
        rows = slice((step - first_step) * self.batch_size, (step - first_step + 1) * self.batch_size)
        samples = chunk.samples[rows]
        return GlobalBatch(samples, chunk.draws[rows], np.ones(len(samples), bool))

    def share(self, batch: GlobalBatch, rank: int, world: int) -> GlobalBatch:
        """Return the rows of one rank, a run of the batch; the ranks' runs in turn are the batch.

        In training the sizes differ by one at most. In evaluation every rank has as many rows, so that collectives meet
        equal shapes: those that a rank lacks repeat the last row with `valid` False.

        Raises:
            UsageError: in training, a batch has fewer rows than there are ranks.
        """
        size = len(batch.samples)
        if self.last == "exact":
            rows = -(-size // world) * np.array([rank, rank + 1])
            places = np.arange(*rows)
            held = np.minimum(places, size - 1)
            return GlobalBatch(batch.samples[held], batch.draws[held], batch.valid[held] & (places < size))
        if size < world:
            raise UsageError(
                f"global batch of {size}: {world} ranks cannot share it without one going empty; give a batch of at "
                "least one sample a rank"
            )
        run = slice(size * rank // world, size * (rank + 1) // world)
        return GlobalBatch(batch.samples[run], batch.draws[run], batch.valid[run])

    def describe(self) -> dict[str, Any]:
        """Return what decides the batches, as JSON: equal descriptions over equal data give equal batches."""
        return self._description

    @cached_property
    def _description(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "last": self.last,
            "repeats": self._repeats,
            "epoch_samples": self._distinct,
            "sampler": self._sampler.describe(),
        }

    def _work_out(self, epoch: int, first_step: int) -> _Chunk:
        """Return the rows of the steps from `first_step` on that are worked out together."""
        steps = min(self._chunk_steps, self._steps - first_step)
        start, stop = first_step * self._rows, (first_step + steps) * self._rows
        begin = epoch * self._distinct
        samples = self._sampler.take(begin + start, begin + min(stop, self._distinct))
        if stop > self._distinct and self.last == "wrap":
            missing = stop - self._distinct
            head = self._sampler.take(begin, begin + min(missing, self._distinct))
            samples = np.concatenate([samples, np.resize(head, missing)])
        if self._repeats > 1:
            samples = np.tile(samples.reshape(steps, self._rows), (1, self._repeats)).reshape(-1)
        rows = first_step * self.batch_size + np.arange(len(samples))
        return _Chunk(epoch, first_step, samples, hash_counters(derive_key(self.seed, epoch), rows))


def _check_request(sampler: Sampler, draws: int, batch_size: int, last: str, repeats: int) -> None:
    """Refuse what no schedule can be made of."""
    if last not in get_args(Last):
        raise UsageError(f"last batch '{last}': not known; choose {', '.join(get_args(Last))}")
    if sampler.samples < 1 or draws < 1:
        raise UsageError("the dataset has no samples to read; check the split, and what subsets and exclusions leave")
    if batch_size < 1 or repeats < 1 or batch_size % repeats:
        raise UsageError(
            f"global batch of {batch_size} with {repeats} repeats: give a batch that is a multiple of the repeats, "
            "both at least 1"
        )
    if last == "exact" and (repeats > 1 or draws != sampler.samples):
        raise UsageError(
            f"an exact epoch shows each of its {sampler.samples:,} samples once; leave out repeats, and other sizes"
        )
