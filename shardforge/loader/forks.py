"""Locks that forked processes do not inherit as they happen to be: their threads are gone, and would never let go."""

from __future__ import annotations

import os
import threading
import weakref


class Lock:
    """A lock that is free in a forked process, whoever held it in the parent."""

    def __init__(self) -> None:
        self._renew()
        _known.add(self)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_known: weakref.WeakSet[Lock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_known):
        lock._renew()


os.register_at_fork(after_in_child=_renew_all)
