"""Workers in this process. Reading, decoding and resizing need no interpreter lock, so threads use all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy.typing as npt

from shardforge.loader.collate import BatchMaker
from shardforge.loader.schedule import GlobalBatch
from shardforge.loader.workers.base import Batch

#: Returns an array for the images of a whole batch.
Take = Callable[[], npt.NDArray[Any]]


class InlineWorkers:
    """Makes each batch when it is collected."""

    capacity = 1

    def __init__(self, maker: BatchMaker, take: Take | None) -> None:
        self._maker = maker
        self._take = take
        self._requests: deque[GlobalBatch] = deque()

    def submit(self, request: GlobalBatch) -> None:
        """Keep a request."""
        self._requests.append(request)

    def collect(self) -> Batch:
        """Make the batch that was asked for first."""
        return make_batch(self._maker, self._take, self._requests.popleft())

    def discard(self) -> None:
        """Forget all requests."""
        self._requests.clear()

    def close(self) -> None:
        """Do nothing."""


class ThreadWorkers:
    """Each of `workers` threads makes a whole batch at a time, with `prefetch` batches a thread under way."""

    def __init__(self, maker: BatchMaker, take: Take | None, workers: int, prefetch: int) -> None:
        self.capacity = workers * prefetch
        self._maker = maker
        self._take = take
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="shardforge-loader")
        self._futures: deque[Future[Batch]] = deque()

    def submit(self, request: GlobalBatch) -> None:
        """Ask for a batch."""
        self._futures.append(self._pool.submit(make_batch, self._maker, self._take, request))

    def collect(self) -> Batch:
        """Return the batch that was asked for first."""
        return self._futures.popleft().result()

    def discard(self) -> None:
        """Forget all batches that are under way."""
        while self._futures:
            self._futures.popleft().cancel()

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def make_batch(maker: BatchMaker, take: Take | None, request: GlobalBatch) -> Batch:
    """Make a batch in this thread."""
    images = take()[: len(request.samples)] if take is not None else None
    return Batch(request, images, maker.make(request, images))
