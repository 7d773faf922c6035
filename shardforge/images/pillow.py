"""The one door to Pillow's decoders: known formats only, no size limit but ours, no exception but ImageError.

What Pillow and the libraries below it remark about a file goes to its notes.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.containers.base import Header, ImageBytes
from shardforge.images.exif import ORIENTATION_TAG, valid_orientation
from shardforge.images.libtiff import collect_complaints
from shardforge.images.limits import check_size, refuse_memory
from shardforge.images.notes import add_note, collecting_notes, current_notes, joining_notes

# Sizes come from headers and are held against --max-pixels before anything is decoded. Pillow's own limit would warn
# or refuse at a number of its own, already while a header is read.
Image.MAX_IMAGE_PIXELS = None
# Images are decoded side by side; each needs no threads of its own.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_AVIF_BRANDS = (b"avif", b"avis")
#: What Pillow says of files that are as they should be, of a kind that it does not know.
_UNSUPPORTED = ("unknown pixel mode", "unable to determine J2K image mode")


class _Warnings:
    """Stands for the module `warnings` inside Pillow: what is said while a collector is open becomes a note.

    `warnings.catch_warnings` changes the whole process, so threads cannot use it.
    """

    def warn(self, message: Any, category: type[Warning] | None = None, stacklevel: int = 1, **options: Any) -> None:
        """Note a warning, or pass it on where nobody collects."""
        if current_notes() is None:
            warnings.warn(message, category, stacklevel + 1, **options)
        else:
            add_note(str(message))

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


class _Log(logging.Handler):
    """Makes notes of what Pillow logs, which would go to standard error for want of another handler."""

    def emit(self, record: logging.LogRecord) -> None:
        """Note a record."""
        add_note(record.getMessage())


logging.getLogger("PIL").addHandler(_Log(logging.WARNING))
for _module in (
    *(AvifImagePlugin, BmpImagePlugin, GifImagePlugin, Image, Jpeg2KImagePlugin, JpegImagePlugin),
    *(PngImagePlugin, PpmImagePlugin, TiffImagePlugin, WebPImagePlugin),
):
    if hasattr(_module, "warnings"):
        _module.warnings = _Warnings()  # type: ignore[attr-defined]


def open_image(data: bytes, format: str) -> ImageFile:
    """Open an image of a known format lazily: the header is read, no pixel is decoded.

    Raises:
        ImageError: truncated or corrupt.
    """
    if format == "tiff":
        collect_complaints()
    with explaining_errors(format):
        make, _ = Image.OPEN[format.upper()]
        return make(io.BytesIO(data), "")


def is_avif(start: bytes) -> bool:
    """Whether a file begins as an AVIF does."""
    return start[4:8] == b"ftyp" and start[8:12] in _AVIF_BRANDS


def read_avif(file: ImageBytes) -> Header:
    """Read the header of an AVIF, for which all of the file is read: its boxes may lie anywhere.

    Its orientation is that of `irot` and `imir`, which Pillow gives as one of EXIF.

    Raises:
        ImageError: truncated, corrupt or too_many_pixels.
    """
    with collecting_notes() as notes, open_avif(file.read(0, file.size)) as image, explaining_errors("avif"):
        check_size(*image.size)
        orientation = valid_orientation(image.getexif().get(ORIENTATION_TAG))
        return Header(*image.size, "avif", orientation, image.info.get("icc_profile"), notes=notes.texts)


def open_avif(data: bytes) -> ImageFile:
    """Open an AVIF; one that Pillow refuses for its EXIF block is opened without that.

    Raises:
        ImageError: truncated or corrupt.
    """
    try:
        return open_image(data, "avif")
    except ImageError:
        start, mark, rest = data.partition(b"Exif")  # the kind of an item, in the box that lists them
        if not mark:
            raise
        image = open_image(start + b"none" + rest, "avif")
        add_note("the EXIF block is damaged")
        return image


@contextmanager
def explaining_errors(format: str) -> Iterator[None]:
    """Turn whatever Pillow raises over damaged bytes into an ImageError, and what it remarks into notes.

    Its decoders raise nearly every built-in exception over them.
    """
    with joining_notes() as notes:
        try:
            yield
        except ImageError:
            raise
        except MemoryError as error:
            raise refuse_memory(format) from error
        except Exception as error:
            text = str(error) or type(error).__name__
            said = [note for note in notes.texts if note.startswith("libtiff: ")]
            raise ImageError(
                f"the {format} cannot be decoded: {'; '.join([text, *said])}", reason=_find_reason(error, text)
            ) from error


def _find_reason(error: Exception, text: str) -> str:
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return reasons.TRUNCATED
    return reasons.UNSUPPORTED if text in _UNSUPPORTED else reasons.CORRUPT
