"""The one door to Pillow's decoders: known formats only, no size limit but ours, no exception but ImageError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.exif import ORIENTATION_TAG, UPRIGHT

# Sizes come from headers and are held against --max-pixels before anything is decoded. Pillow's own limit would warn
# or refuse at a number of its own, already while a header is read.
Image.MAX_IMAGE_PIXELS = None

_FORMAT_OF_MAGIC = {
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"BM": "bmp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\0\0\0\x0cjP  \r\n\x87\n": "jpeg2000",
    b"\xff\x4f\xff\x51": "jpeg2000",
}
_AVIF_BRANDS = (b"avif", b"avis")


def recognise_format(start: bytes) -> str | None:
    """Return the format of a file other than JPEG, PNG and WebP by its first 16 bytes, or None when it is unknown."""
    for magic, format in _FORMAT_OF_MAGIC.items():
        if start.startswith(magic):
            return format
    if start[4:8] == b"ftyp" and start[8:12] in _AVIF_BRANDS:
        return "avif"
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace():
        return "ppm"
    return None


def open_image(file: IO[bytes], format: str) -> ImageFile:
    """Open an image of a known format lazily: the header is read, no pixel is decoded.

    Raises:
        ImageError: truncated or corrupt.
    """
    with explaining_errors(format):
        return Image.open(file, formats=(format,))


def find_orientation(image: ImageFile) -> int:
    """Return the EXIF orientation that is still to be applied to an image other than JPEG, PNG and WebP.

    AVIF keeps its turn as EXIF; Pillow turns TIFF itself, and its size is the upright one; the others have none.
    """
    if image.format != "AVIF":
        return UPRIGHT
    with explaining_errors("avif"):
        orientation = image.getexif().get(ORIENTATION_TAG, UPRIGHT)
    return orientation if orientation in range(1, 9) else UPRIGHT


@contextmanager
def explaining_errors(format: str) -> Iterator[None]:
    """Turn whatever Pillow raises over damaged bytes into an ImageError.

    Its decoders raise nearly every built-in exception over them. Only a lack of memory is not the image's fault.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"the header of the {format} is damaged", reason=reasons.CORRUPT) from error
    except Exception as error:
        truncated = isinstance(error, EOFError) or "truncated" in str(error).lower()
        reason = reasons.TRUNCATED if truncated else reasons.CORRUPT
        raise ImageError(f"the {format} cannot be decoded: {error or type(error).__name__}", reason=reason) from error
