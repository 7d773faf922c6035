"""One writer at a time in a dataset folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shardforge.dataset.layout import Layout
from shardforge.errors import DatasetError
from shardforge.files import explain_os_error
from shardforge.inside import require_inside
from shardforge.locks import hold_lock


@contextmanager
def lock_dataset(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file at `path` while the block runs; runs over parts of the shards share it.

    What the run writes and clears away lies in the folder of that file: it must be inside the dataset.

    Raises:
        DatasetError: another run holds it (the message says which), the folder cannot be written, or leads elsewhere,
            or its file system has no locks.
    """
    layout = Layout(path.parent.parent)
    for folder in layout.folders:
        require_inside(layout.out, folder)

    def refuse(holder: str) -> DatasetError:
        return DatasetError(f"{layout.out}: is being written by {holder}; wait for it or choose another --out")

    with hold_lock(path, refuse, shared=shared) as missing:
        if missing is not None:
            raise explain_os_error(missing, path) from missing
        yield
