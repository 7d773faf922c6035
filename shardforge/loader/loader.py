"""Batches for training and evaluation: exact epochs, the same for any ranks and workers, to be resumed anywhere."""

from __future__ import annotations

import logging
import os
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from shardforge.dataset.budget import Budget
from shardforge.errors import BudgetExceededError, UsageError
from shardforge.loader.collate import SAMPLE, VALID, BatchMaker, Skipped
from shardforge.loader.dataset import LABEL, ShardDataset
from shardforge.loader.distributed import find_rank
from shardforge.loader.lookahead import Lookahead
from shardforge.loader.order import BLOCK_SHARDS, Sampler, Sequential, Shuffled
from shardforge.loader.pixels import Normalise
from shardforge.loader.schedule import GlobalBatch, Last, Schedule
from shardforge.loader.state import LoaderState
from shardforge.loader.transforms import BatchTransform
from shardforge.loader.workers import Batch, Kind, Workers, plan_workers

_log = logging.getLogger(__name__)


class ShardLoader:
    """Iterates over batches of a dataset; each `iter()` is an epoch.

    A batch is a tuple of `members`: extensions, "image", "__key__", and of each row "valid" (False where it is padding
    or stands in for a bad sample) and "sample" (its number). Images whose transform gives one shape are one array,
    labels int64, "valid" bool; other members are lists. Arrays are tensors where torch is installed, pinned where there
    is CUDA (unless `pin_memory` is False), and stay what they are as long as anything refers to them.

    The batches are those of `schedule`, or of a schedule that shuffles (or not) and fills the last batch by wrapping.
    `global_batch_size` counts the samples of all ranks. A rank gets its share; ranks come from torch.distributed unless
    given. Evaluation takes `last="exact"`, with "valid" among the members where there are several ranks.

    `workers` are threads where transforms come from `shardforge.loader.transforms` (or there are none to apply), else
    processes; `num_workers=0` makes batches in this thread. Random transforms are seeded by (seed, epoch, position).

    With `on_error="skip"` the row of a bad sample shows the next good sample of its batch, with "valid" False; bad
    samples are counted in `skipped`, reported at the end of the epoch, and an error when they exceed `max_skipped`.
    """

    def __init__(
        self,
        dataset: ShardDataset,
        *,
        global_batch_size: int,
        members: Sequence[str] = ("image", LABEL),
        shuffle: bool = True,
        seed: int = 0,
        last: Last = "wrap",
        block_shards: int = BLOCK_SHARDS,
        sampler: Sampler | None = None,
        repeats: int = 1,
        epoch_samples: int | None = None,
        normalise: Normalise | None = None,
        workers: Kind = "auto",
        num_workers: int | None = None,
        prefetch: int = 2,
        on_error: Literal["raise", "skip"] = "raise",
        max_skipped: Budget | None = None,
        pin_memory: bool = True,
        start_method: str | None = None,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        if sampler is None and shuffle:
            sampler = Shuffled(dataset.index.lengths, seed=seed, block_shards=block_shards)
        self.dataset = dataset
        self.members = tuple(members)
        self.schedule = Schedule(
            sampler or Sequential(len(dataset)),
            seed=seed,
            batch_size=global_batch_size,
            last=last,
            repeats=repeats,
            epoch_samples=epoch_samples,
        )
        self.rank, self.world = find_rank(rank, world)
        self.skipped: list[Skipped] = []
        self._maker = BatchMaker(dataset, self.members, skip=on_error == "skip", normalise=normalise)
        self._max_skipped = max_skipped or Budget()
        self._plan = plan_workers(dataset, workers, num_workers, prefetch, pin_memory, start_method)
        self._workers: Workers | None = None
        self._lookahead = Lookahead(self.schedule, dataset.index) if dataset.index.reader.storage.ahead else None
        self._epoch = self._step = 0
        self._begun = self._resumed = False
        self._iterations = 0
        if on_error not in ("raise", "skip"):
            raise UsageError(f"on_error {on_error!r}: not known; choose raise, skip")
        if normalise is not None and not (dataset.decode and isinstance(dataset.transform, BatchTransform)):
            raise UsageError(
                "normalise goes with transforms of shardforge.loader.transforms; others must do it themselves"
            )
        if last == "exact" and self.world > 1 and VALID not in self.members:
            raise UsageError(f'evaluation on {self.world} ranks pads their last batches: ask for the member "{VALID}"')

    def __len__(self) -> int:
        return self.schedule.steps(self._epoch)

    @property
    def epoch(self) -> int:
        """The epoch that is being read, or is next."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next `iter()` start this epoch; without it each one starts the epoch after the last.

        An epoch that `load_state_dict` is in the middle of goes on there, and one that it is at the end of is empty.
        """
        if epoch != self._epoch or not self._resumed:
            self._epoch, self._step = epoch, 0
        self._begun = False

    def state_dict(self) -> dict[str, Any]:
        """Return what another loader needs to go on after the last batch that was handed out, as plain JSON."""
        return LoaderState(self.dataset.index.fingerprint, self.schedule.describe(), self._epoch, self._step).to_dict()

    def load_state_dict(self, state: Mapping[str, Any], *, rebatch: bool = False) -> None:
        """Go on where the loader stood that gave `state`, at the end of an epoch with the next one.

        Ranks and workers may be others; `rebatch` allows another global batch size.

        Raises:
            UsageError: the state is of other data, or of batches made in another way.
        """
        found = LoaderState.from_dict(state).fit(
            self.dataset.index.fingerprint, self.schedule.describe(), rebatch=rebatch
        )
        self._epoch, self._step, self._resumed = found.epoch, found.step, True
        self._begun = found.step >= self.schedule.steps(found.epoch)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield the batches of an epoch, or what is left of it after `load_state_dict`; it begins with its first batch.

        Raises:
            ImageError: a sample is bad, and none are to be skipped.
            BudgetExceededError: more samples are bad than may be skipped.
            TaskError: a worker died.
            UsageError: a later iterator of this loader has taken over.
        """
        # Trainers ask for an iterator without using it; as a generator, this does nothing before the first batch.
        if self._begun:
            self._epoch, self._step = self._epoch + 1, 0
        self._begun, self._resumed = True, False
        self.skipped = []
        yield from self._iterate(self._epoch, self._step)

    def close(self) -> None:
        """Stop the workers; they start again when they are needed."""
        self._leave_inherited()
        if self._workers is not None:
            self._workers.close()
            self._workers = None
            self._stop.detach()

    def _leave_inherited(self) -> None:
        """Leave workers to the process that started them: a forked one lacks their threads, and shares their pipes."""
        if self._workers is not None and self._owner != os.getpid():
            self._workers = None
            self._stop.detach()

    def _iterate(self, epoch: int, first: int) -> Iterator[tuple[Any, ...]]:
        self._leave_inherited()
        if self._workers is None:
            self._owner = os.getpid()
            self._workers = self._plan.start(self._maker, rows=-(-self.schedule.batch_size // self.world))
            self._stop = weakref.finalize(self, self._workers.close)
        workers = self._workers
        workers.discard()  # what an iterator that was left in mid-epoch had asked for
        self._iterations += 1
        number = self._iterations
        steps = self.schedule.steps(epoch)
        submitted = first
        try:
            for step in range(first, steps):
                self._check_turn(number)
                while submitted < min(steps, step + workers.capacity):
                    if self._lookahead is not None:
                        self._lookahead.advance(epoch, submitted)
                    batch = self.schedule.batch(epoch, submitted)
                    self._check_numbers(batch)
                    workers.submit(self.schedule.share(batch, self.rank, self.world))
                    submitted += 1
                self._step = step + 1
                yield self._finish(workers.collect())
        except GeneratorExit:
            raise
        except BaseException:  # Ctrl-C, too, which may leave half an answer in a worker's pipe
            if number == self._iterations:
                self.close()
            raise
        finally:
            if number == self._iterations:
                workers.discard()
        self._report(epoch)

    def _check_turn(self, number: int) -> None:
        if number != self._iterations:
            raise UsageError(
                "this loader was iterated anew since, and gives its batches to the latest iterator alone; use one "
                "iterator at a time, or a loader for each"
            )

    def _check_numbers(self, batch: GlobalBatch) -> None:
        """Refuse what a sampler made for other data asks for; negative numbers would count from the end."""
        if batch.samples.min() < 0 or batch.samples.max() >= len(self.dataset):
            raise UsageError(
                f"the sampler draws samples {batch.samples.min()} to {batch.samples.max()}, the dataset has "
                f"{len(self.dataset):,}; make the sampler from this dataset's lengths, labels or weights"
            )

    def _finish(self, batch: Batch) -> tuple[Any, ...]:
        """Return the members of a batch in the order asked for."""
        made = batch.made
        self._count_skipped(made.skipped)
        samples = batch.request.samples[made.sources]
        columns: dict[str, Any] = dict(made.columns)
        columns[VALID] = batch.request.valid & (made.sources == np.arange(len(samples)))
        columns[SAMPLE] = samples
        if self._maker.image is not None:
            columns[self._maker.image] = batch.images
        if self.dataset.decode:
            columns[LABEL] = self.dataset.labels_of(samples).astype(np.int64)
        return tuple(self._to_tensor(columns[name]) for name in self.members)

    def _to_tensor(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray) or not _TORCH:
            return value
        import torch  # takes seconds: only when there are batches to make

        return torch.from_numpy(value)

    def _count_skipped(self, skipped: Sequence[Skipped]) -> None:
        self.skipped += skipped
        limit = self._max_skipped.limit(len(self.dataset) // self.world)
        if len(self.skipped) > limit:
            raise BudgetExceededError(
                f"{len(self.skipped):,} samples could not be used, and {limit:,} may be skipped in an epoch; the last: "
                f"{self.skipped[-1].message}"
            )

    def _report(self, epoch: int) -> None:
        if self.skipped:
            counts = Counter(skipped.reason for skipped in self.skipped)
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
            _log.warning(
                "epoch %d: %d samples skipped (%s); the first: %s",
                epoch, len(self.skipped), reasons, self.skipped[0].message,
            )  # fmt: skip


_TORCH = find_spec("torch") is not None
