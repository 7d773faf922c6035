"""One writer at a time: an advisory lock on a dataset folder, gone with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shardforge.errors import DatasetError
from shardforge.files import explain_os_error


@contextmanager
def lock_dataset(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file at `path` while the block runs; runs over parts of the shards share it.

    Raises:
        DatasetError: another run holds it (the message says which), or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise explain_os_error(error, path) from error
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another run"
            raise DatasetError(
                f"{path.parent.parent}: is being written by {holder}; wait for it or choose another --out"
            ) from error
        if shared:
            yield
        else:
            with _name_holder(handle):
                yield
    finally:
        os.close(handle)


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
