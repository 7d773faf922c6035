"""What all formats have in common: a header, and bytes that may lie in memory or in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.files import read_range
from shardforge.images.exif import UPRIGHT
from shardforge.images.limits import MAX_HEADER_BYTES, refuse_costly

_GROWTH = 16


@dataclass(slots=True)  # not frozen, which would take four times as long to make, for each file of a scan
class Header:
    """What an image is before it is decoded.

    Attributes:
        width: pixels as stored, before orientation.
        height: pixels as stored, before orientation.
        format: Pillow's name of the format in lower case.
        orientation: EXIF orientation, 1 to 8; 1 is upright, 5 to 8 swap the axes.
        profile: the ICC profile as it is embedded: compressed in a PNG.
        bits: how many bits its 16-bit samples may have by what the file says, the likeliest first; empty when it says
            nothing.
        notes: what there is to say about metadata that cannot be used.
        frame: where the frame header of a JPEG lies.
    """

    width: int
    height: int
    format: str
    orientation: int = UPRIGHT
    profile: bytes | None = None
    bits: tuple[int, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    frame: int = field(default=0, compare=False)

    @property
    def swaps_axes(self) -> bool:
        """Whether the upright image is `height` wide and `width` high."""
        return self.orientation >= 5


class MoreNeededError(Exception):
    """The bytes that are known do not suffice."""


class ImageBytes:
    """The bytes of a file that is all in memory.

    Attributes:
        start: the first ones, as many as are at hand.
        size: how many there are.
    """

    def __init__(self, start: bytes, size: int | None = None) -> None:
        self.start = start
        self.size = len(start) if size is None else size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset`, fewer where the file ends; memory is taken for what is there alone."""
        return self.start[offset : offset + length]

    def grow(self) -> None:
        """Bring more bytes into `start`.

        Raises:
            ImageError: there are no more.
        """
        refuse_truncated()


class FirstBytes(ImageBytes):
    """The first bytes of a file of unknown length: whoever asks for others raises MoreNeededError."""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset`."""
        if offset + length > len(self.start):
            raise MoreNeededError
        return self.start[offset : offset + length]

    def grow(self) -> None:
        """Raise: there are no others."""
        raise MoreNeededError


class FileBytes(ImageBytes):
    """The bytes of `size` at `offset` of an open file; the descriptor keeps its position."""

    def __init__(self, start: bytes, fd: int, size: int, offset: int) -> None:
        super().__init__(start, size)
        self._fd = fd
        self._offset = offset

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset`, fewer where the file ends."""
        if offset + length <= len(self.start):
            return self.start[offset : offset + length]
        length = min(length, self.size - offset)
        return read_range(self._fd, self._offset + offset, length) if length > 0 else b""

    def grow(self) -> None:
        """Read sixteen times as many bytes as are at hand."""
        known = len(self.start)
        if known >= MAX_HEADER_BYTES:
            raise refuse_costly(f"the size of the image lies behind more than {MAX_HEADER_BYTES >> 20} MiB of others")
        self.start = read_range(self._fd, self._offset, min(self.size, known * _GROWTH, MAX_HEADER_BYTES))
        if len(self.start) <= known:
            refuse_truncated()


def refuse_truncated() -> NoReturn:
    """Raise the error for a header that ends early."""
    raise ImageError("the file ends inside its header", reason=reasons.TRUNCATED)
