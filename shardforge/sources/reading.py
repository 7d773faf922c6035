"""Reads the bytes of a mapped record, and refuses when the file is no longer the one that was mapped."""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.files import NoFileError, open_regular, read_range
from shardforge.paths import path_from_text
from shardforge.zipfiles import read_entry

#: Between the path of an archive and the name of a member in it: "shard-000000.tar::0001.jpg".
MEMBER_MARK = "::"

_ARCHIVE = re.compile(rf"\.(?:tar|zip|hdf5|h5)(?={MEMBER_MARK})")
_OPEN_ARCHIVES = 4
_REASONS = {
    FileNotFoundError: reasons.VANISHED,
    NotADirectoryError: reasons.VANISHED,
    NoFileError: reasons.CHANGED,
}


class _OpenArchives:
    """Handles of the archives that a thread read last, closed with the thread."""

    def __init__(self) -> None:
        self._handles: OrderedDict[bytes, int] = OrderedDict()

    def open(self, file: bytes, mtime: int) -> int:
        """Return a handle of `file`, opened anew when the one at hand is of another time."""
        handle = self._handles.pop(file, None)
        if handle is not None and os.fstat(handle).st_mtime_ns != mtime:
            os.close(handle)
            handle = None
        if handle is None:
            handle = open_regular(file)
        self._handles[file] = handle
        if len(self._handles) > _OPEN_ARCHIVES:
            os.close(self._handles.popitem(last=False)[1])
        return handle

    def __del__(self) -> None:
        for handle in self._handles.values():
            os.close(handle)


class _Local(threading.local):
    def __init__(self) -> None:
        self.archives = _OpenArchives()


_local = _Local()


def split_member(path: str) -> tuple[str, str]:
    """Return the archive's path and the member's name for the path of a record that lies in an archive."""
    mark = _ARCHIVE.search(path)
    end = mark.end() if mark else len(path)
    return path[:end], path[end + len(MEMBER_MARK) :]


def in_zip(file: bytes) -> bool:
    """Whether the members of an archive begin with a header and may be compressed."""
    return file.endswith(b".zip")


def file_path(root: bytes | str, path: str, offset: int | None) -> bytes:
    """Return the file that holds a record: itself, or its archive when it has an offset."""
    return os.path.join(os.fsencode(root), path_from_text(path if offset is None else split_member(path)[0]))


def read_record(root: bytes | str, path: str, offset: int | None, size: int, mtime: int) -> bytes:
    """Return the bytes of one image.

    Args:
        root: The folder that `path` is relative to.
        path: The record's path.
        offset: First byte of the image in its archive, or of its header in a zip; None for a plain file.
        size: Bytes of the image.
        mtime: Modification time of the file or archive when it was mapped, in ns.

    Raises:
        ImageError: the file is gone (vanished), was modified since (changed), cannot be read (unreadable), or is
            damaged inside its zip (corrupt).
    """
    file = file_path(root, path, offset)
    try:
        if offset is not None:
            return _read(_local.archives.open(file, mtime), file, offset, size, mtime)
        handle = open_regular(file)
        try:
            return _read(handle, file, None, size, mtime)
        finally:
            os.close(handle)
    except OSError as error:
        reason = _REASONS.get(type(error), reasons.UNREADABLE)
        raise ImageError(
            f"{os.fsdecode(file)}: {error.strerror}; bring the file back or map again", reason=reason
        ) from error


def _read(handle: int, file: bytes, offset: int | None, size: int, mtime: int) -> bytes:
    status = os.fstat(handle)
    data = b""
    same = status.st_mtime_ns == mtime and (offset is not None or status.st_size == size)
    if same:
        zipped = offset is not None and in_zip(file)
        data = read_entry(handle, offset or 0, size) if zipped else read_range(handle, offset or 0, size)
    if not same or len(data) != size:
        raise ImageError(f"{os.fsdecode(file)}: changed since it was mapped; map again", reason=reasons.CHANGED)
    return data
