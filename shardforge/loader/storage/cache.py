"""Shards kept on this machine's disk, shared by all processes that name the same folder.

A shard is downloaded to NAME.part and renamed when it is whole, with checks of its pieces behind it. Who downloads
holds a lock (flock) on the partial file, for which others wait; it goes with the process, and a partial file without a
lock is waste. When the next shard would not fit, those that were opened longest ago are removed. A process that has one
open goes on reading it. Links are not followed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from shardforge.errors import DatasetError, UsageError
from shardforge.files import explain_os_error
from shardforge.loader.storage.checks import PieceChecks, add_checks, size_of_checks

_PARTIAL = ".part"
_WHOLE = ".shard"
_READ = os.O_RDONLY | os.O_NOFOLLOW


class Opened(NamedTuple):
    """A shard in the cache: a file descriptor, and the checks of its pieces, None for one of 0.1.0."""

    handle: int
    checks: PieceChecks | None


class ShardCache:
    """A folder of at most `limit` bytes, downloads under way included."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def open(self, name: str, size: int, download: Callable[[], Iterable[bytes]], *, former: str = "") -> Opened:
        """Return a shard of `size` bytes, downloaded unless it is there.

        `name` stands for the content: it must be another one when the shard changes. `former` is what 0.1.0 called it,
        whose files have no checks.

        Raises:
            DatasetError: the disk is full or the folder cannot be written; and what `download` raises.
            UsageError: the shard is larger than the cache.
        """
        while (opened := self._open_whole(name, size, former)) is None:
            opened = self._fetch(name, size, download, wait=True)
            if opened is not None:
                break
        return opened

    def fetch(self, name: str, size: int, download: Callable[[], Iterable[bytes]], *, former: str = "") -> None:
        """Download a shard unless it is there, another process is at it, or others have taken all room.

        Raises:
            DatasetError: as for `open`.
        """
        opened = self._open_whole(name, size, former)
        if opened is None:
            opened = self._fetch(name, size, download, wait=False)
        if opened is not None:
            os.close(opened.handle)

    def forget(self, name: str, handle: int) -> None:
        """Remove a shard that turned out to be damaged, unless another file has taken the place of the open one."""
        path = self.folder / (name + _WHOLE)
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), os.lstat(path)):
                path.unlink()

    def _open_whole(self, name: str, size: int, former: str) -> Opened | None:
        """Open a shard that is there, and note that it is in use."""
        path = self.folder / (name + _WHOLE)
        before = self.folder / (former + _WHOLE)
        try:
            if (handle := _open_sized(path, size + size_of_checks(size))) is not None:
                try:
                    opened = Opened(handle, PieceChecks(handle, size))
                except ValueError:
                    os.close(handle)
                    path.unlink(missing_ok=True)
                    return None
            elif former and (handle := _open_sized(before, size)) is not None:
                path, opened = before, Opened(handle, None)
            else:
                return None
        except OSError as error:
            raise self._explain(error, path) from error
        with contextlib.suppress(OSError):  # removed meanwhile, or the folder of another user
            os.utime(path, follow_symlinks=False)
        return opened

    def _fetch(self, name: str, size: int, download: Callable[[], Iterable[bytes]], *, wait: bool) -> Opened | None:
        """Download a shard and open it; None when another process had it in hand, or there is no room yet."""
        part = self.folder / (name + _PARTIAL)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _claim(part, wait=wait) as claimed:
                if claimed is None:
                    return None
                if (self.folder / (name + _WHOLE)).exists() or not self._reserve(claimed, size, wait=wait):
                    part.unlink()
                    return None
                _fill(claimed, add_checks(download()))
                handle = os.open(part, _READ)
                os.replace(part, self.folder / (name + _WHOLE))
                return Opened(handle, PieceChecks(handle, size))
        except OSError as error:
            raise self._explain(error, part) from error
        except ValueError as error:
            raise DatasetError(f"{part}: {size:,} bytes were to come, and others did; start again") from error

    def _explain(self, error: OSError, path: Path) -> DatasetError:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return explain_os_error(error, path)
        return DatasetError(
            f"{self.folder}: no space left on the device for a cache of {self.limit:,} bytes; free some space, or give "
            "the cache a smaller limit or another folder"
        )

    def _reserve(self, claimed: int, size: int, *, wait: bool) -> bool:
        """Give a partial file its size, once there is room for it; False when there is none and nobody waits."""
        total = size + size_of_checks(size)
        if total > self.limit:
            raise UsageError(
                f"{self.folder}: a shard of {size:,} bytes is larger than the cache of {self.limit:,}; make the cache "
                "larger, or use none"
            )
        while True:
            with _locked(self.folder):
                if self._make_room(total):
                    os.ftruncate(claimed, total)
                    return True
            if not wait:
                return False
            time.sleep(0.1)  # until one of the others' downloads is through, and can be removed

    def _make_room(self, size: int) -> bool:
        """Remove shards until `size` bytes more are within the limit; tell whether they are."""
        whole, used = [], 0
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):
                if entry.is_symlink() and entry.name.endswith((_PARTIAL, _WHOLE)):
                    os.unlink(entry.path)
                elif entry.name.endswith(_PARTIAL):
                    used += _sweep(Path(entry.path))
                elif entry.name.endswith(_WHOLE):
                    stat = entry.stat()
                    whole.append((stat.st_mtime_ns, stat.st_size, entry.path))
                    used += stat.st_size
        for _, freed, path in sorted(whole):
            if used + size <= self.limit:
                break
            Path(path).unlink(missing_ok=True)
            used -= freed
        return used + size <= self.limit


@contextlib.contextmanager
def _claim(part: Path, *, wait: bool) -> Iterator[int | None]:
    """Yield the partial file locked and empty, None when somebody else had it; it is removed when the block raises."""
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
            return
        if not _is_at(handle, part):
            yield None
            return
        os.ftruncate(handle, 0)  # what a killed process left
        try:
            yield handle
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    finally:
        _release(handle)


def _open_sized(path: Path, size: int) -> int | None:
    """Open a file of this size; one of another size was cut by somebody, and is removed as a link is."""
    try:
        handle = os.open(path, _READ)
    except FileNotFoundError:
        return None
    except OSError:
        if not path.is_symlink():
            raise
        path.unlink(missing_ok=True)
        return None
    if os.fstat(handle).st_size == size:
        return handle
    os.close(handle)
    path.unlink(missing_ok=True)
    return None


def _fill(claimed: int, pieces: Iterable[bytes]) -> None:
    with open(claimed, "wb", buffering=0, closefd=False) as file:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[file.write(view) :]
        os.fsync(claimed)


def _sweep(part: Path) -> int:
    """Remove a partial file that nobody writes any more; return the bytes that it takes."""
    handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(handle, part):
            part.unlink()
        return 0
    except BlockingIOError:
        return os.fstat(handle).st_size
    finally:
        _release(handle)


def _release(handle: int) -> None:
    """Unlock and close; closing alone leaves the lock to processes that were forked meanwhile."""
    fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time count and remove files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        _release(handle)
