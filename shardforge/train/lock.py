"""One run at a time in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shardforge.errors import UsageError
from shardforge.locks import hold_lock

_NAME = ".lock"


@contextmanager
def lock_run(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a run's folder while the block runs, and clear away what a killed run had half written there.

    The lock is this process' alone: workers that outlive it for a moment do not keep a resumed run out. Where the file
    system has no locks, `say` is told.

    Raises:
        UsageError: another run is in the folder.
        DatasetError: the folder cannot be written.
    """

    def refuse(holder: str) -> UsageError:
        return UsageError(f"{folder}: {holder} is training there; wait for it, or give another --tag or --out")

    with hold_lock(folder / _NAME, refuse, forks_hold=False) as missing:
        if missing is None:
            for left in folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
        else:
            say(f"{folder}: has no locks ({missing.strerror}); see that no other run uses it")
        yield
