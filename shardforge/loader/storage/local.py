"""Shards in files of this machine.

They are read with pread, not mapped: a file that is cut while it is mapped kills the process that touches it, and
mapped pages count as memory of every process that read them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from shardforge.errors import DatasetError
from shardforge.files import open_regular
from shardforge.loader.storage.base import ShardStat


class LocalFile:
    """A shard opened by its path, or by a file descriptor, which it then owns."""

    compares = False

    def __init__(self, path: str, handle: int = -1) -> None:
        self._path = path
        self._handle = handle
        self._close = os.close  # at the interpreter's end `os` may be gone first
        try:
            if handle < 0:
                self._handle = open_regular(path)
        except OSError as error:
            raise explain_read_error(error, path) from error
        self.stat = _to_stat(os.fstat(self._handle))

    def read(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Return the bytes of each span.

        Raises:
            DatasetError: the file ends before one of them does, or cannot be read.
        """
        handle, pread = self._handle, os.pread
        try:
            spans = [pread(handle, size, offset) for offset, size in zip(offsets, sizes, strict=True)]
        except OSError as error:
            raise explain_read_error(error, self._path) from error
        if [*map(len, spans)] == sizes:
            return spans
        return [self._read_on(*span) for span in zip(spans, offsets, sizes, strict=True)]

    def _read_on(self, data: bytes, offset: int, size: int) -> bytes:
        """Return a whole span of which one call gave only `data`: calls end after 2 GiB, and where the file does."""
        while len(data) < size:
            more = os.pread(self._handle, size - len(data), offset + len(data))
            if not more:
                raise DatasetError(
                    f"{self._path}: ends at byte {offset + len(data)}, expected {size} bytes from byte {offset} on; "
                    "check it with `shardforge verify`"
                )
            data += more
        return data

    def __del__(self) -> None:
        if self._handle >= 0:
            self._close(self._handle)


class LocalStorage:
    """Opens shards by their paths."""

    max_open = 128  # more than the blocks of a shuffle hold, fewer than a process may open
    ahead = 0
    compares = False

    def stat(self, urls: Sequence[str]) -> list[ShardStat]:
        """Return the files' sizes and times of change.

        Raises:
            DatasetError: there is no such file.
        """
        stats = []
        for url in urls:
            try:
                stats.append(_to_stat(os.stat(url)))
            except OSError as error:
                raise explain_read_error(error, url) from error
        return stats

    def open(self, url: str) -> LocalFile:
        """Open a file.

        Raises:
            DatasetError: there is no such file, or it cannot be opened.
        """
        return LocalFile(url)

    def prefetch(self, urls: Sequence[str]) -> None:
        """Do nothing: the kernel reads ahead."""


def _to_stat(status: os.stat_result) -> ShardStat:
    return ShardStat(status.st_size, status.st_mtime_ns)


def explain_read_error(error: OSError, path: str) -> DatasetError:
    """Return the sentence for an operating-system error met while a shard was read."""
    return DatasetError(f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions")
