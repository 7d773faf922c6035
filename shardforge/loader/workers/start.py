"""Chooses the workers of a loader, and starts them."""

from __future__ import annotations

import multiprocessing
import os
import sys
from dataclasses import dataclass
from typing import Literal, get_args

from shardforge.errors import UsageError
from shardforge.executors import count_cores
from shardforge.loader.buffers import ArrayLayout, BufferPool, PinnedPool
from shardforge.loader.collate import BatchMaker
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.transforms import BatchTransform
from shardforge.loader.workers.base import Workers
from shardforge.loader.workers.processes import ProcessWorkers
from shardforge.loader.workers.threads import InlineWorkers, ThreadWorkers

Kind = Literal["auto", "threads", "processes"]


@dataclass(frozen=True)
class WorkerPlan:
    """What makes the batches: `workers` threads or processes (0: the calling thread), `prefetch` batches for each."""

    processes: bool
    workers: int
    prefetch: int
    pin: bool
    start_method: str | None

    def start(self, maker: BatchMaker, rows: int) -> Workers:
        """Start workers for batches of at most `rows` samples."""
        image = maker.layout
        layout = None if image is None else ArrayLayout((rows, *image.shape), image.dtype)
        if self.workers and self.processes:
            return ProcessWorkers(maker, layout, self.workers, self.prefetch, self.start_method)
        take = None
        if layout is not None:
            take = PinnedPool(layout).take if self.pin else BufferPool(layout).take
        if self.workers:
            return ThreadWorkers(maker, take, self.workers, self.prefetch)
        return InlineWorkers(maker, take)


def plan_workers(
    dataset: ShardDataset, kind: Kind, workers: int | None, prefetch: int, pin_memory: bool, start_method: str | None
) -> WorkerPlan:
    """Return the workers that were asked for, or else those that suit the dataset's transform and this rank's cores.

    Raises:
        UsageError: there are no such workers, or they do not go with the transform.
    """
    in_python = dataset.decode and dataset.transform is not None and not isinstance(dataset.transform, BatchTransform)
    if kind == "threads" and in_python:
        raise UsageError(
            "workers are threads, which share the random numbers that transforms draw from: use processes, or a "
            "transform of shardforge.loader.transforms"
        )
    if workers is None:
        workers = max(1, count_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if workers < 0 or prefetch < 1:
        raise UsageError(f"{workers} workers, {prefetch} batches ahead: give 0 workers or more, and at least 1 batch")
    known: tuple[tuple[str, str | None, tuple[str | None, ...]], ...] = (
        ("workers", kind, get_args(Kind)),
        ("start method", start_method, (None, *multiprocessing.get_all_start_methods())),
    )
    for what, given, choices in known:
        if given not in choices:
            raise UsageError(f"{what} {given!r}: not known; choose {', '.join(filter(None, choices))}")
    return WorkerPlan(
        processes=kind == "processes" or (kind == "auto" and in_python),
        workers=workers,
        prefetch=prefetch,
        pin=pin_memory and _has_cuda(),
        start_method=start_method,
    )


def _has_cuda() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_available())
