"""Size, format and orientation of an image from its first bytes, without decoding a pixel."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import IO

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.containers import JPEG_MAGIC, PNG_MAGIC, RIFF_MAGIC, read_jpeg, read_png, read_webp
from shardforge.images.exif import UPRIGHT
from shardforge.images.pillow import find_orientation, open_image, recognise_format

_FIRST_READ = 4096  # holds the header of nearly every file: one system call
_GROWTH = 16  # thumbnails and colour profiles can push the size behind several segments of 64 KiB


@dataclass(frozen=True, slots=True)
class Header:
    """What an image is before it is decoded.

    Attributes:
        width: pixels as stored, before orientation.
        height: pixels as stored, before orientation.
        format: Pillow's name of the format in lower case.
        orientation: EXIF orientation, 1 to 8; 1 is upright, 5 to 8 swap the axes.
    """

    width: int
    height: int
    format: str
    orientation: int = UPRIGHT

    @property
    def swaps_axes(self) -> bool:
        """Whether the upright image is `height` wide and `width` high."""
        return self.orientation >= 5


def read_header(data: bytes) -> Header | None:
    """Read a header from the first bytes of a file, or return None when more of them are needed.

    Formats other than JPEG, PNG and WebP keep their header anywhere: give the whole file for those.

    Raises:
        ImageError: with the reason empty_file, not_an_image, truncated, corrupt or unsupported.
    """
    if data.startswith(JPEG_MAGIC):
        format, found = "jpeg", read_jpeg(data)
    elif data.startswith(PNG_MAGIC):
        format, found = "png", read_png(data)
    elif data.startswith(RIFF_MAGIC) and data[8:12] == b"WEBP":
        format, found = "webp", read_webp(data)
    else:
        return _read_other(io.BytesIO(data), data)
    if found is None:
        return None
    width, height, orientation = found
    if width == 0 or height == 0:
        raise ImageError(f"the header says {width} x {height} pixels", reason=reasons.CORRUPT)
    return Header(width, height, format, orientation)


def read_whole_header(data: bytes) -> Header:
    """Read the header of a whole file: like `read_header`, but there are no more bytes.

    Raises:
        ImageError: as `read_header`.
    """
    return read_header(data) or _refuse_truncated()


def read_file_header(fd: int, size: int, offset: int = 0) -> Header:
    """Read the header of the image that is `size` bytes long and lies at `offset` of an open file.

    Raises:
        ImageError: as `read_header`, or with the reason unreadable when the system cannot read the file.
    """
    try:
        data = os.pread(fd, min(size, _FIRST_READ), offset)
        if not data.startswith((JPEG_MAGIC, PNG_MAGIC, RIFF_MAGIC)):
            return _read_other(io.BufferedReader(_FileSlice(fd, size, offset)), data)
        while (header := read_header(data)) is None:
            known = len(data)
            data = os.pread(fd, min(size, known * _GROWTH), offset)
            if len(data) == known:
                _refuse_truncated()
        return header
    except OSError as error:
        raise ImageError(f"cannot read the file: {error.strerror}", reason=reasons.UNREADABLE) from error


def _read_other(file: IO[bytes], start: bytes) -> Header:
    """Read a header through Pillow; `start` are the first bytes of `file`."""
    if not start:
        raise ImageError("the file has zero bytes", reason=reasons.EMPTY_FILE)
    format = recognise_format(start)
    if format is None:
        raise ImageError("the bytes are not those of a known image format", reason=reasons.NOT_AN_IMAGE)
    with open_image(file, format) as image:
        return Header(image.width, image.height, format, find_orientation(image))


def _refuse_truncated() -> Header:
    raise ImageError("the file ends inside its header", reason=reasons.TRUNCATED)


class _FileSlice(io.RawIOBase):
    """A part of an open file as a file of its own; the descriptor keeps its position."""

    def __init__(self, fd: int, size: int, offset: int) -> None:
        self._fd = fd
        self._size = size
        self._offset = offset
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the buffer is always a memoryview here
        wanted = min(len(buffer), max(0, self._size - self._position))
        data = os.pread(self._fd, wanted, self._offset + self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
