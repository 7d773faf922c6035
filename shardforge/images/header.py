"""Size, format and orientation of an image from its first bytes, without decoding a pixel."""

from __future__ import annotations

from collections.abc import Callable

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.files import read_range
from shardforge.images.containers import bmp, gif, jpeg2000, png, pnm, tiff, webp
from shardforge.images.containers.base import FileBytes, FirstBytes, Header, ImageBytes, MoreNeededError
from shardforge.images.containers.jpeg import MAGIC as JPEG_MAGIC
from shardforge.images.containers.jpeg import read_jpeg
from shardforge.images.limits import check_encoded_bytes
from shardforge.images.pillow import is_avif, read_avif

__all__ = ["Header", "read_file_header", "read_header", "read_whole_header"]

_FIRST_READ = 4096  # holds the header of nearly every file: one system call


def read_header(data: bytes) -> Header | None:
    """Read a header from the first bytes of a file, or return None when more of them are needed.

    TIFF and AVIF keep their header anywhere, PNG and WebP their orientation behind the image data: give the whole file
    for those.

    Raises:
        ImageError: with the reason empty_file, not_an_image, truncated, corrupt, unsupported, too_many_pixels or
            too_costly.
    """
    try:
        return _read(FirstBytes(data))
    except MoreNeededError:
        return None


def read_whole_header(data: bytes) -> Header:
    """Read the header of a whole file: like `read_header`, but there are no more bytes.

    Raises:
        ImageError: as `read_header`.
    """
    check_encoded_bytes(len(data))
    if data.startswith(JPEG_MAGIC) and (header := read_jpeg(data)) is not None:
        return header
    return _read(ImageBytes(data))


def read_file_header(fd: int, size: int, offset: int = 0) -> Header:
    """Read the header of the image that is `size` bytes long and lies at `offset` of an open file.

    Raises:
        ImageError: as `read_header`, or with the reason unreadable when the system cannot read the file.
    """
    check_encoded_bytes(size)
    try:
        start = read_range(fd, offset, min(size, _FIRST_READ))
        if start.startswith(JPEG_MAGIC) and (header := read_jpeg(start)) is not None:
            return header
        return _read(FileBytes(start, fd, size, offset))
    except OSError as error:
        raise ImageError(f"cannot read the file: {error.strerror}", reason=reasons.UNREADABLE) from error


def _read(file: ImageBytes) -> Header:
    start = file.start
    if start.startswith(JPEG_MAGIC):
        return _read_growing(file, read_jpeg)
    if start.startswith(png.MAGIC):
        return png.read_png(file)
    if start.startswith(webp.MAGIC) and start[8:12] == b"WEBP":
        return webp.read_webp(file)
    if start.startswith(gif.MAGICS):
        return _read_growing(file, gif.read_gif)
    if start.startswith(tiff.MAGICS):
        return tiff.read_tiff(file)
    if start.startswith(bmp.MAGIC):
        return bmp.read_bmp(file)
    if start.startswith((jpeg2000.BOX_MAGIC, jpeg2000.STREAM_MAGIC)):
        return _read_growing(file, jpeg2000.read_jpeg2000)
    if pnm.is_pnm(start):
        return _read_growing(file, pnm.read_pnm)
    if is_avif(start):
        return read_avif(file)
    if not start:
        raise ImageError("the file has zero bytes", reason=reasons.EMPTY_FILE)
    raise ImageError("the bytes are not those of a known image format", reason=reasons.NOT_AN_IMAGE)


def _read_growing(file: ImageBytes, read: Callable[[bytes], Header | None]) -> Header:
    while (header := read(file.start)) is None:
        file.grow()
    return header
