"""Lock files: advisory, gone with the process that holds them however it ends, and naming it while it does."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shardforge.errors import ShardforgeError
from shardforge.files import explain_os_error

_TAKEN = (errno.EACCES, errno.EAGAIN)


@contextmanager
def hold_lock(
    path: Path, refuse: Callable[[str], ShardforgeError], *, shared: bool = False, forks_hold: bool = True
) -> Iterator[OSError | None]:
    """Hold the lock file at `path` while the block runs; holders that share it hold it together.

    Yields None, or why there is no lock: not all file systems have them. With `forks_hold`, a forked process that
    outlives this one keeps the lock; without, it is this process' alone, and its threads do not exclude each other.

    Raises:
        ShardforgeError: of `refuse`, which is told who holds the lock.
        DatasetError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _open(path)
    except OSError as error:
        raise explain_os_error(error, path) from error
    missing: OSError | None = None
    try:
        take = fcntl.flock if forks_hold else fcntl.lockf
        try:
            take(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another run"
                raise refuse(holder) from error
            missing = error
        if shared:
            yield missing
        else:
            with _name_holder(handle):
                yield missing
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    """Open a lock file to write the holder's name into it, and make it where there is none.

    A link, as caches of hubs have it for the lock file of a dataset that was uploaded, gives way to a file: what it
    leads to belongs to others. Who makes way for it holds the folder, so that all find one file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o644)
    except OSError:
        if not path.is_symlink():
            raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # not all file systems have locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        if path.is_symlink():
            path.unlink()
        return os.open(path, flags, 0o644)
    finally:
        os.close(folder)


@contextmanager
def _name_holder(handle: int) -> Iterator[None]:
    """Let the lock file say who holds it, for as long as that is so; a full disk may keep it empty."""
    os.ftruncate(handle, 0)
    with suppress(OSError):
        os.pwrite(handle, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
    try:
        yield
    finally:
        os.ftruncate(handle, 0)
