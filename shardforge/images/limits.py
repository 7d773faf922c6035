"""What an image may cost, judged by its bytes alone, so that every machine and every reader says the same.

| what | most | beyond it |
|---|---|---|
| a side that a header says | 2^31 - 1 | too_many_pixels |
| pixels that a header says | 2^40; decoders take `--max-pixels`, 200 million unless said otherwise | too_many_pixels |
| bytes of a file | 2 GiB | too_costly |
| bytes before the size of the image | 64 MiB | too_costly |
| segments, chunks, boxes or tags on the way to it | 65,536; 2^20 chunks in a PNG; 4,096 tags in a TIFF | too_costly |
| scans of a JPEG | 20, or more as long as scans x pixels are below 4 x 10^9 | too_costly |
| strips or tiles of a TIFF | 2^20, with no more than four times its pixels, or 64 million | too_costly |
| tiles of a JPEG 2000, its code blocks and precincts | 65,535; 2^23 | too_costly |
| bytes and pixels of a plain PNM or a run-length BMP, which are decoded one by one | 2^25 | too_costly |
| an ICC profile, a text of a PNG when unpacked | 4 MiB, 1 MiB | left out with a note |
"""

from __future__ import annotations

from shardforge import reasons
from shardforge.errors import ImageError

MAX_SIDE = 2**31 - 1
MAX_HEADER_PIXELS = 2**40
MAX_ENCODED_BYTES = 2**31
MAX_HEADER_BYTES = 64 << 20
MAX_SEGMENTS = 2**16
MAX_PNG_CHUNKS = 2**20
MAX_TIFF_TAGS = 4096
MAX_SCANS = 20
MAX_SCANNED_PIXELS = 4_000_000_000
MAX_STRIPS = 2**20
MAX_TILE_PIXELS = 2**26
MAX_CODE_BLOCKS = 2**23
MAX_SLOW = 2**25
MAX_PROFILE_BYTES = 4 << 20
MAX_TEXT_BYTES = 1 << 20


def refuse_costly(why: str) -> ImageError:
    """Return the error for an image that would cost more than one may."""
    return ImageError(why, reason=reasons.TOO_COSTLY)


def refuse_memory(format: str) -> ImageError:
    """Return the error for an image for which memory does not suffice."""
    return ImageError(f"there is not enough memory for the {format}", reason=reasons.OUT_OF_MEMORY)


def check_encoded_bytes(size: int) -> None:
    """Refuse a file by its size, before it is read.

    Raises:
        ImageError: too_costly.
    """
    if size > MAX_ENCODED_BYTES:
        raise refuse_costly(f"{size:,} bytes are more than the {MAX_ENCODED_BYTES:,} that an image file may have")


def check_size(width: int, height: int) -> None:
    """Refuse a width and height that are no image's, or more than any `--max-pixels` can admit.

    Raises:
        ImageError: corrupt or too_many_pixels.
    """
    if width <= 0 or height <= 0:
        raise ImageError(f"the header says {width} x {height} pixels", reason=reasons.CORRUPT)
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_HEADER_PIXELS:
        raise ImageError(
            f"the header says {width} x {height} pixels, more than an image can have", reason=reasons.TOO_MANY_PIXELS
        )
