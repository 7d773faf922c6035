"""The items of a task: which one a worker is at, and how long it may be at it.

A function that goes through many items says when it begins each of them. Where that one kills the worker, it is known
which it was; one that takes too long has its worker killed by the kernel's alarm clock, whatever C code it is stuck in.
In a process that is no worker nothing is noted and nobody is killed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Position(Protocol):
    """A number in memory that the driver reads, too."""

    value: int


class _Watch:
    """What the driver of this worker wants to know."""

    position: Position | None = None
    seconds = 0.0


_watch = _Watch()

#: The position of a worker that is at no item, and of one that has not begun to work.
NOWHERE, UNBORN = -1, -2


def watch_items(position: Position, seconds: float) -> None:
    """Note items at `position` from now on, and let each of them take at most `seconds` (0: for ever)."""
    _watch.position, _watch.seconds = position, seconds
    position.value = NOWHERE


def begin_item(number: int) -> None:
    """Say that the work on the item with this number, from 0 in its task, begins."""
    if _watch.position is not None:
        _watch.position.value = number
        signal.setitimer(signal.ITIMER_REAL, _watch.seconds)


@contextmanager
def watched_task() -> Iterator[None]:
    """Note nothing of the items of earlier tasks, and stop the clock when the task ends."""
    if _watch.position is None:
        yield
        return
    _watch.position.value = NOWHERE
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
