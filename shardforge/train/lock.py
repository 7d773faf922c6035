"""One run at a time in a folder."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shardforge.errors import UsageError
from shardforge.files import explain_os_error

_NAME = ".lock"
_TAKEN = (errno.EACCES, errno.EAGAIN)


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold a run's folder while the block runs, and clear away what a killed run had half written there.

    The lock belongs to this process alone: workers that outlive it for a moment do not keep it.

    Raises:
        UsageError: another run is in the folder.
        DatasetError: the folder cannot be written.
    """
    path = folder / _NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    try:
        _take(handle, folder)
        for left in folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def _take(handle: int, folder: Path) -> None:
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _TAKEN:  # a file system without locks
            return
        holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another run"
        raise UsageError(
            f"{folder}: {holder} is training there; wait for it, or give another --tag or --out"
        ) from error
    with suppress(OSError):  # a full disk
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
