"""Header parsers of the three formats that a scan meets by the million: JPEG, PNG and WebP.

Each takes the first bytes of a file and returns width and height in stored pixels and the EXIF orientation, or None
when more bytes are needed, or raises ImageError when no more bytes could help.
"""

from __future__ import annotations

import struct

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.exif import UPRIGHT, read_orientation

SizeAndOrientation = tuple[int, int, int]

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
RIFF_MAGIC = b"RIFF"  # WebP has "WEBP" at byte 8

_JPEG_SEGMENT = struct.Struct(">HH").unpack_from  # marker, length
_JPEG_FRAME = struct.Struct(">BHH").unpack_from  # bits per colour, height, width
_START_OF_FRAME = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_WITHOUT_LENGTH = frozenset({0xFF01, *range(0xFFD0, 0xFFD8)})
_END_OF_HEADER = frozenset({0xFFD9, 0xFFDA})  # end of image, start of scan
_APP1 = 0xFFE1

_PNG_SIZE = struct.Struct(">II").unpack_from
_PNG_CHUNK = struct.Struct(">I4s").unpack_from  # length, kind

_WEBP_CHUNK = struct.Struct("<4sI").unpack_from  # kind, length
_WEBP_HEADER_BYTES = 30
_WEBP_EXIF_FLAG = 0x08


def read_jpeg(data: bytes) -> SizeAndOrientation | None:
    """Walk the segments of ITU T.81 annex B up to the frame header; EXIF lies in APP1 before it."""
    orientation = UPRIGHT
    position = 2
    try:
        while True:
            marker, length = _JPEG_SEGMENT(data, position)
            if marker in _START_OF_FRAME:
                bits, height, width = _JPEG_FRAME(data, position + 4)
                if bits != 8:
                    raise ImageError(
                        f"a JPEG of {bits} bits per colour; only 8 can be decoded", reason=reasons.UNSUPPORTED
                    )
                return width, height, orientation
            if marker == _APP1 and data.startswith(b"Exif\0\0", position + 4):
                block = data[position + 4 : position + 2 + length]
                if len(block) < length - 2:
                    return None
                orientation = read_orientation(block)
            position = _next_jpeg_marker(data, position, marker, length)
    except struct.error:
        return None


def _next_jpeg_marker(data: bytes, position: int, marker: int, length: int) -> int:
    if 0xFF01 < marker < 0xFFFF and marker not in _WITHOUT_LENGTH:
        if marker in _END_OF_HEADER or length < 2:
            raise ImageError("a JPEG without a size before its image data", reason=reasons.CORRUPT)
        return position + 2 + length
    if marker in _WITHOUT_LENGTH:
        return position + 2
    # Fill bytes and stray bytes: decoders search for the next marker.
    found = data.find(b"\xff", position + 1)
    return found if found >= 0 else len(data)


def read_png(data: bytes) -> SizeAndOrientation | None:
    """Read IHDR, and eXIf where it stands before the image data (PNG third edition, section 5.6)."""
    orientation = UPRIGHT
    position = len(PNG_MAGIC)
    try:
        if data[12:16] not in (b"IHDR", b""):
            raise ImageError("a PNG that does not begin with IHDR", reason=reasons.CORRUPT)
        width, height = _PNG_SIZE(data, 16)
        while True:
            length, kind = _PNG_CHUNK(data, position)
            if kind in (b"IDAT", b"IEND"):
                return width, height, orientation
            if kind == b"eXIf":
                block = data[position + 8 : position + 8 + length]
                if len(block) < length:
                    return None
                orientation = read_orientation(block)
            position += 12 + length
    except struct.error:
        return None


def read_webp(data: bytes) -> SizeAndOrientation | None:
    """Read the first chunk of RFC 9649, and EXIF where the extended header announces it."""
    if len(data) < _WEBP_HEADER_BYTES:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        orientation = _find_webp_orientation(data) if data[20] & _WEBP_EXIF_FLAG else UPRIGHT
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return None if orientation is None else (width, height, orientation)
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), UPRIGHT
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF, UPRIGHT
    raise ImageError("a WebP whose first chunk holds no image", reason=reasons.CORRUPT)


def _find_webp_orientation(data: bytes) -> int | None:
    """Walk the chunks to EXIF, which stands behind the image data; None when `data` ends before it."""
    end = 8 + int.from_bytes(data[4:8], "little")
    position = 12
    while position + 8 <= end:
        if position + 8 > len(data):
            return None
        kind, length = _WEBP_CHUNK(data, position)
        if kind == b"EXIF":
            block = data[position + 8 : position + 8 + length]
            return read_orientation(block) if len(block) == length else None
        position += 8 + length + length % 2
    return UPRIGHT
