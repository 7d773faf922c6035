"""What the loader asks of its workers."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from shardforge.loader.collate import Made
from shardforge.loader.schedule import GlobalBatch


class Batch(NamedTuple):
    """A batch as it was asked for, its images where they have a layout, and the rest of it."""

    request: GlobalBatch
    images: npt.NDArray[Any] | None
    made: Made


class Workers(Protocol):
    """Makes batches ahead of their use."""

    #: Batches that may be under way at a time.
    capacity: int

    def submit(self, request: GlobalBatch) -> None:
        """Ask for a batch; at most `capacity` are under way."""
        ...

    def collect(self) -> Batch:
        """Return the batch that was asked for first, and wait for it.

        Raises:
            TaskError: the worker that made it died.
            ShardforgeError: what making it raised.
        """
        ...

    def discard(self) -> None:
        """Forget all batches that are under way."""
        ...

    def close(self) -> None:
        """Stop the workers."""
        ...
