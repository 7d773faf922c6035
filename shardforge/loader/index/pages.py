"""Rows of an index file, read by checked pages.

The rows of a section are numbers, as many in each, that lie in pages one after another; each page has a CRC-32. Pages
are read when a row of theirs is first asked for, compared, and kept. The file is never mapped: one that is cut while it
is mapped ends the process, and what the disk makes of its bits goes by without a word.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shardforge.errors import DatasetError
from shardforge.files import open_regular
from shardforge.loader.forks import Lock

#: Bytes of a page, at most. Small ones make a random row cheap, large ones a checksum for each.
_PAGE_BYTES = 8 << 10

Int64Array = npt.NDArray[np.int64]
UInt32Array = npt.NDArray[np.uint32]
#: What the file holds on any machine.
_NUMBER = np.dtype("<u4")


class Section(NamedTuple):
    """What a section of a file holds: `rows` of `width` numbers each of 32 bits, from byte `start` of the file on."""

    start: int
    rows: int
    width: int

    @property
    def shift(self) -> int:
        """Rows of a page, as a power of two; one row of many numbers may be larger than a page."""
        return max(0, (_PAGE_BYTES // max(1, 4 * self.width)).bit_length() - 1)

    @property
    def pages(self) -> int:
        """The number of pages."""
        return -(-self.rows >> self.shift) if self.width else 0

    @property
    def bytes(self) -> int:
        """The size in the file."""
        return 4 * self.width * self.rows


def iter_pages(rows: UInt32Array) -> Iterator[memoryview]:
    """Yield the pages of a section that holds these rows, an array [rows, width]."""
    section = Section(0, *rows.shape)
    for page in range(section.pages):
        part = rows[page << section.shift : (page + 1) << section.shift]
        yield np.ascontiguousarray(part, _NUMBER).reshape(-1).view(np.uint8).data


class IndexFile:
    """An open file, to be read by any thread and by forked processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1
        self._close = os.close  # at the interpreter's end `os` may be gone first
        self._handle = open_regular(path)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._handle).st_size

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer from this byte of the file on.

        Raises:
            DatasetError: the file ends before that, or cannot be read.
        """
        done = 0
        try:
            while done < len(buffer) and (count := os.preadv(self._handle, [buffer[done:]], offset + done)):
                done += count
        except OSError as error:
            raise self.explain(f"cannot be read ({error.strerror})") from error
        if done < len(buffer):
            raise self.explain(f"ends at byte {offset + done:,}: it was cut")

    def explain(self, problem: str) -> DatasetError:
        """Return the error of a file with this problem."""
        return DatasetError(
            f"{self.path}: {problem}; delete this index, and it is made anew when the dataset is next opened"
        )

    def __del__(self) -> None:
        if self._handle >= 0:
            self._close(self._handle)


class PagedRows:
    """The rows of a section; at most about `budget` bytes of its pages are kept.

    Threads share it. They wait for each other only where a page has to be read: pages that are kept stay in place as
    long as anything refers to the room that they are in, and when a room is full, a new one takes its place, which what
    is still in use moves to.
    """

    def __init__(self, file: IndexFile, section: Section, crcs: UInt32Array, *, budget: int) -> None:
        self._file = file
        self._section = section
        self._crcs = crcs
        self._shift = section.shift
        self._mask = (1 << self._shift) - 1
        self._page_bytes = 4 * section.width << self._shift
        most = budget // 2 // max(1, self._page_bytes)
        self._room_pages = min(max(1, most), max(1, section.pages))
        self._room = self._former = _Room(section, self._room_pages)
        self._lock = Lock()

    def __len__(self) -> int:
        return self._section.rows

    def take(self, rows: Int64Array) -> UInt32Array:
        """Return these rows, an array [n, width].

        Raises:
            IndexError: there is no such row.
            DatasetError: the file is damaged or was cut.
        """
        rows = np.asarray(rows, np.int64)
        if not len(rows):
            return np.empty((0, self._section.width), _NUMBER)
        # Ufuncs and methods are called as they are: this is done for each batch, and others take several times as long.
        if np.maximum.reduce(rows.view(np.uint64)) >= self._section.rows:  # negative ones are large so
            raise IndexError(f"rows {rows.min()} to {rows.max()}: there are {self._section.rows}")
        pages = rows >> self._shift
        room = self._room
        slots = room.slots.take(pages)
        if np.minimum.reduce(slots) < 0:
            found = self._fetch(pages)
            if found is None:
                return self._take_by_pages(rows, pages)
            room = found
            slots = room.slots.take(pages)
        return room.rows.take((slots << self._shift) + (rows & self._mask), axis=0)

    def page(self, number: int) -> UInt32Array:
        """Return the rows of a page, where they lie: they are not to be changed.

        Raises:
            DatasetError: the file is damaged or was cut.
        """
        room = self._room
        if room.slots.item(number) < 0:
            room = self._fetch(np.array([number])) or room
        first = room.slots.item(number) << self._shift
        return room.rows[first : first + min(self._mask + 1, self._section.rows - (number << self._shift))]

    def read_all(self) -> UInt32Array:
        """Return all rows, read past what is kept.

        Raises:
            DatasetError: the file is damaged or was cut.
        """
        rows = np.empty((self._section.rows, self._section.width), _NUMBER)
        buffer = rows.reshape(-1).view(np.uint8).data
        for page in range(self._section.pages):
            self._read(page, buffer[page * self._page_bytes :][: self._page_bytes])
        return rows

    def _take_by_pages(self, rows: Int64Array, pages: Int64Array) -> UInt32Array:
        """Return rows of more pages than a room holds, some pages at a time."""
        found = np.empty((len(rows), self._section.width), _NUMBER)
        order = np.argsort(pages, kind="stable")
        _, firsts = np.unique(pages[order], return_index=True)
        for part in np.split(order, firsts[self._room_pages :: self._room_pages]):
            found[part] = self.take(rows[part])
        return found

    def _fetch(self, pages: Int64Array) -> _Room | None:
        """Return a room that has these pages, None where they are more than a room holds."""
        with self._lock:
            room = self._room  # it may be another one meanwhile
            missing = set(pages.compress(room.slots.take(pages) < 0).tolist())
            if room.used + len(missing) > self._room_pages:
                missing = set(pages.tolist())
                if len(missing) > self._room_pages:
                    return None
                self._former = room  # before there is a new one: no more than two are held
                room = _Room(self._section, self._room_pages)
            for page in sorted(missing):
                place = room.buffer[room.used * self._page_bytes :][: self._size_of(page)]
                slot = self._former.slots.item(page)
                if slot >= 0:
                    place[:] = self._former.buffer[slot * self._page_bytes :][: len(place)]
                else:
                    self._read(page, place)
                room.slots[page] = room.used  # only now do others see it
                room.used += 1
            self._room = room
            return room

    def _size_of(self, page: int) -> int:
        return min(self._page_bytes, self._section.bytes - page * self._page_bytes)

    def _read(self, page: int, buffer: memoryview) -> None:
        """Fill a buffer with a page, and compare it with its checksum."""
        offset = self._section.start + page * self._page_bytes
        self._file.read_into(buffer, offset)
        if zlib.crc32(buffer) != self._crcs.item(page):
            raise self._file.explain(
                f"bytes {offset:,} to {offset + len(buffer):,} are not those that were written (another CRC-32)"
            )


class _Room:
    """Memory for pages: `slots` tells where in `rows`, and in `buffer`, their bytes, each lies; -1: it does not."""

    def __init__(self, section: Section, pages: int) -> None:
        self.slots = np.full(section.pages, -1, np.int64)
        self.rows = np.empty((pages << section.shift, section.width), _NUMBER)
        self.buffer = self.rows.reshape(-1).view(np.uint8).data
        self.used = 0
