"""How fast a loader reads the user's own shards on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shardforge.loader.collate import SAMPLE
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.loader import ShardLoader
from shardforge.loader.members import IMAGE, locate_members
from shardforge.loader.shards import Place
from shardforge.loader.storage import RemoteOptions
from shardforge.loader.transforms import RandomResizedCrop


class Measured(NamedTuple):
    """What was measured: rates from the first batch on, and times in seconds; MB are those of the members read."""

    samples: int
    samples_per_second: float
    megabytes_per_second: float
    wait_share: float
    first_batch_seconds: float
    open_seconds: float


def measure_loader(
    inputs: Place | Sequence[Place],
    *,
    split: str | None,
    side: int | None,
    batch_size: int,
    workers: int | None,
    step_seconds: float,
    seconds: float,
    remote: RemoteOptions | None = None,
    trust: bool = False,
) -> Measured:
    """Read shuffled batches for about `seconds`, epoch after epoch: crops of `side` pixels, or with None all bytes."""
    started = time.perf_counter()
    transform = None if side is None else RandomResizedCrop(side)
    dataset = ShardDataset(
        inputs, split=split, transform=transform, decode=side is not None, remote=remote, trust=trust
    )
    opened = time.perf_counter()
    names = list(dataset.index.extensions) if side is None else [IMAGE]
    size = min(batch_size, len(dataset))
    loader = ShardLoader(dataset, global_batch_size=size, members=[*names, SAMPLE], num_workers=workers)
    timing = _read(loader, step_seconds, seconds)
    loader.close()
    numbers = np.concatenate(timing.read) if timing.read else np.empty(0, np.int64)
    size_read = sum(int(locate_members(dataset.index, numbers, name)[1].sum()) for name in names)
    return Measured(
        samples=len(numbers),
        samples_per_second=len(numbers) / timing.seconds,
        megabytes_per_second=size_read / timing.seconds / 1e6,
        wait_share=timing.waited / timing.seconds,
        first_batch_seconds=timing.first - opened,
        open_seconds=opened - started,
    )


class _Timing(NamedTuple):
    """When the first batch came, and for those after it what was read, the time that passed, and that spent waiting."""

    first: float
    read: list[npt.NDArray[np.int64]]
    seconds: float
    waited: float


def _read(loader: ShardLoader, step_seconds: float, seconds: float) -> _Timing:
    """Read batches as a training of `step_seconds` a step does."""
    batches = _read_for_ever(loader)
    next(batches)
    first = asked = time.perf_counter()
    read: list[npt.NDArray[np.int64]] = []
    waited = 0.0
    while not read or asked - first < seconds:
        read.append(next(batches))
        waited += time.perf_counter() - asked
        time.sleep(step_seconds)
        asked = time.perf_counter()
    return _Timing(first, read, asked - first, waited)


def _read_for_ever(loader: ShardLoader) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the sample numbers of each batch, and let go of the rest of it."""
    while True:
        for batch in loader:
            yield np.asarray(batch[-1])
