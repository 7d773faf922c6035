"""The CRC-32 of each piece of a cached shard, kept behind its last byte: what a disk makes of it later is noticed.

pieces     4 bytes each, of 1 MiB of the shard
CRC-32     4 bytes, of those above
mark       8 bytes
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from shardforge.files import read_range

PIECE = 1 << 20
_MARK = b"sf-crc-1"
_CRC = struct.Struct("<I")


def size_of_checks(size: int) -> int:
    """Return the bytes that the checks of a shard of `size` bytes take."""
    return _CRC.size * (-(-size // PIECE) + 1) + len(_MARK)


def add_checks(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts of a shard, and its checks behind them."""
    crcs: list[int] = []
    done = 0
    for part in parts:
        view = memoryview(part)
        while view:
            room = PIECE - done % PIECE
            if room == PIECE:
                crcs.append(0)
            crcs[-1] = zlib.crc32(view[:room], crcs[-1])
            done += len(view[:room])
            view = view[room:]
        yield part
    table = b"".join(map(_CRC.pack, crcs))
    yield table + _CRC.pack(zlib.crc32(table)) + _MARK


class PieceChecks:
    """The checks of an open file that holds a shard; any thread may ask."""

    def __init__(self, handle: int, size: int) -> None:
        """Read the checks.

        Raises:
            ValueError: they are damaged.
        """
        end = read_range(handle, size, size_of_checks(size))
        table = end[: -_CRC.size - len(_MARK)]
        if end[len(table) :] != _CRC.pack(zlib.crc32(table)) + _MARK:
            raise ValueError("no checks, or damaged ones")
        self._handle = handle
        self._size = size
        self._crcs = [crc for (crc,) in _CRC.iter_unpack(table)]
        self._good = bytearray(len(self._crcs))

    def find_damage(self, offset: int, size: int) -> int | None:
        """Return the first byte of a piece that is not as it was, among those of this span that were not looked at yet.

        Raises:
            OSError: the file cannot be read.
        """
        for piece in range(offset // PIECE, min(-(-(offset + size) // PIECE), len(self._crcs))):
            if not self._good[piece]:
                start = piece * PIECE
                if zlib.crc32(read_range(self._handle, start, min(PIECE, self._size - start))) != self._crcs[piece]:
                    return start
                self._good[piece] = 1
        return None
