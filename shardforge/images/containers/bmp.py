"""BMP: the information headers of Windows and OS/2."""

from __future__ import annotations

import struct

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.containers.base import Header, ImageBytes
from shardforge.images.limits import MAX_PROFILE_BYTES, MAX_SLOW, check_size, refuse_costly

MAGIC = b"BM"

_INFO = 14  # where the information header begins
_V3_BYTES = 40
_V5_BYTES = 124
_COMPRESSION = _INFO + 16
_COLOURS = _INFO + 56
_EMBEDDED = b"DEBM"  # 'MBED' as a little-endian number
_PROFILE = _INFO + 112
_RUN_LENGTH = (1, 2)
_UNCOMPRESSED = (0, 3)


def read_bmp(file: ImageBytes) -> Header:
    """Read width and height, and the profile that version 5 can hold.

    Raises:
        ImageError: truncated, corrupt or too_many_pixels.
    """
    while len(file.start) < _INFO + 12:
        file.grow()
    (length,) = struct.unpack_from("<I", file.start, _INFO)
    if length == 12:
        width, height = struct.unpack_from("<HH", file.start, _INFO + 4)
    elif length >= _V3_BYTES:
        while len(file.start) < _INFO + _V3_BYTES:
            file.grow()
        width, height = struct.unpack_from("<Ii", file.start, _INFO + 4)
        height = abs(height)  # rows from top to bottom where it is negative
    else:
        raise ImageError(f"a BMP whose header has {length} bytes", reason=reasons.CORRUPT)
    check_size(width, height)
    return Header(width, height, "bmp", profile=_read_profile(file) if length >= _V5_BYTES else None)


def _read_profile(file: ImageBytes) -> bytes | None:
    header = file.read(0, _INFO + _V5_BYTES)
    if len(header) < _INFO + _V5_BYTES or header[_COLOURS : _COLOURS + 4] != _EMBEDDED:
        return None
    offset, length = struct.unpack_from("<II", header, _PROFILE)
    return file.read(_INFO + offset, min(length, MAX_PROFILE_BYTES + 1))


def check_bmp(data: bytes, header: Header) -> None:
    """Refuse a BMP that has not the bytes of its pixels, or whose runs are too many for a decoder in Python.

    Raises:
        ImageError: truncated or too_costly.
    """
    (length,) = struct.unpack_from("<I", data, _INFO)
    (bits,) = struct.unpack_from("<H", data, _INFO + (10 if length == 12 else 14))
    (compression,) = struct.unpack_from("<I", data, _COMPRESSION) if length > 12 else (0,)
    if compression in _RUN_LENGTH and max(len(data), header.width * header.height) > MAX_SLOW:
        raise refuse_costly(f"a run-length BMP of {len(data):,} bytes and {header.width} x {header.height} pixels")
    if compression in _UNCOMPRESSED and header.width * bits // 8 * header.height > len(data):
        raise ImageError("the bmp ends too early", reason=reasons.TRUNCATED)
