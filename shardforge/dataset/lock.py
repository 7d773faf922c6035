"""One writer at a time in a dataset folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shardforge.errors import DatasetError
from shardforge.files import explain_os_error
from shardforge.locks import hold_lock


@contextmanager
def lock_dataset(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file at `path` while the block runs; runs over parts of the shards share it.

    Raises:
        DatasetError: another run holds it (the message says which), the folder cannot be written, or its file system
            has no locks.
    """

    def refuse(holder: str) -> DatasetError:
        return DatasetError(f"{path.parent.parent}: is being written by {holder}; wait for it or choose another --out")

    with hold_lock(path, refuse, shared=shared) as missing:
        if missing is not None:
            raise explain_os_error(missing, path) from missing
        yield
