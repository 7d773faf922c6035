"""JPEG 2000: the boxes of ISO 15444-1 annex I, and the codestream's own header of annex A."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.containers.base import Header
from shardforge.images.limits import MAX_CODE_BLOCKS, MAX_PROFILE_BYTES, MAX_SEGMENTS, check_size, refuse_costly

BOX_MAGIC = b"\0\0\0\x0cjP  \r\n\x87\n"
STREAM_MAGIC = b"\xff\x4f\xff\x51"

_BOX = struct.Struct(">I4s").unpack_from  # length, kind
_IMAGE = struct.Struct(">IIHB").unpack_from  # height, width, components, bits
_SEGMENT = struct.Struct(">HH").unpack_from  # marker, length
_SIZE = struct.Struct(">8IH").unpack_from  # ends, begins, size and begin of tiles, number of components
_SIZE_AT = 8  # behind two markers, the segment's length and its capabilities
_CODING, _CODING_OF_COMPONENT, _START_OF_DATA = 0xFF52, 0xFF53, 0xFF93
_PROFILE_METHODS = (2, 3)  # restricted, any
_LONG_BOX = 1


def read_jpeg2000(data: bytes) -> Header | None:
    """Read the size, depth and profile, or return None when more bytes are needed.

    Raises:
        ImageError: corrupt, unsupported, too_many_pixels or too_costly.
    """
    try:
        if data.startswith(STREAM_MAGIC):
            width, height, bits = _read_stream(data, 0)
            return Header(width, height, "jpeg2000", bits=_bits_of(bits))
        return _read_boxes(data)
    except struct.error:
        return None


def _read_boxes(data: bytes) -> Header | None:
    size: tuple[int, int] | None = None
    profile, bits = None, 8
    for kind, position, end in _iter_boxes(data, 0, len(data)):
        if kind == b"jp2h":
            if end > len(data):
                return None
            for inner, at, inner_end in _iter_boxes(data, position, end):
                if inner == b"ihdr":
                    height, width, _, depth = _IMAGE(data, at)
                    size, bits = (width, height), (depth & 0x7F) + 1
                elif inner == b"colr" and data[at] in _PROFILE_METHODS and inner_end <= end:
                    profile = data[at + 3 : min(inner_end, at + 4 + MAX_PROFILE_BYTES)]
        elif kind == b"jp2c":
            if size is None:
                break
            width, height, bits = _read_stream(data, position)
            check_size(*size)
            if (width, height) != size:
                raise ImageError(f"{width} x {height} pixels, but the header says {size[0]} x {size[1]}")
            return Header(width, height, "jpeg2000", profile=profile, bits=_bits_of(bits))
    raise ImageError("a JPEG 2000 file without an image", reason=reasons.CORRUPT)


def _bits_of(bits: int) -> tuple[int, ...]:
    """Return how many bits samples of 16 may have, to which Pillow scales those of more than 8."""
    return (16,) if 8 < bits < 16 else ()


def _iter_boxes(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, begin and end of the content of each box in a part of the data.

    Raises:
        struct.error: the data ends before the part does.
        ImageError: corrupt or too_costly.
    """
    for _ in range(MAX_SEGMENTS):
        if position == end and end < len(data):
            return
        if position > len(data):
            raise struct.error
        length, kind = _BOX(data, position)
        begin = position + 8
        if length == _LONG_BOX:
            (length,) = struct.unpack_from(">Q", data, begin)
            begin += 8
        stop = position + length if length else max(end, begin)  # 0: all that follows
        if stop < begin:
            raise ImageError(f"a box {kind!r} of {length} bytes", reason=reasons.CORRUPT)
        yield kind, begin, stop
        position = stop
        if position >= end and end < len(data):
            return
    raise refuse_costly(f"a JPEG 2000 file with more than {MAX_SEGMENTS:,} boxes before its image")


def _read_stream(data: bytes, position: int) -> tuple[int, int, int]:
    """Return width, height and bits per sample; what a decoder would take memory for is held against its limits.

    Raises:
        struct.error: more bytes are needed.
        ImageError: corrupt, unsupported, too_many_pixels or too_costly.
    """
    if data[position : position + 4] != STREAM_MAGIC[: len(data) - position]:
        raise ImageError("a JPEG 2000 codestream without a size", reason=reasons.CORRUPT)
    right, bottom, left, top, across, down, first, upper, components = _SIZE(data, position + _SIZE_AT)
    width, height = right - left, bottom - top
    check_size(width, height)
    if not 1 <= components <= 4:
        raise ImageError(f"a JPEG 2000 image of {components} components", reason=reasons.UNSUPPORTED)
    if not across or not down or first > left or upper > top:
        raise ImageError("a JPEG 2000 image whose tiles do not cover it", reason=reasons.CORRUPT)
    tiles = -(-(right - first) // across) * -(-(bottom - upper) // down)
    if tiles > 65_535:
        raise refuse_costly(f"a JPEG 2000 image of {tiles:,} tiles")
    (bits,) = struct.unpack_from("B", data, position + _SIZE_AT + 34)
    _check_coding(data, position + 2, (min(width, across), min(height, down)), tiles * components)
    return width, height, (bits & 0x7F) + 1


def _check_coding(data: bytes, position: int, tile: tuple[int, int], tiles: int) -> None:
    """Refuse codestreams of very many precincts and code blocks: decoders keep a record of each.

    Raises:
        struct.error: more bytes are needed.
        ImageError: corrupt or too_costly.
    """
    for _ in range(MAX_SEGMENTS):
        marker, length = _SEGMENT(data, position)
        if marker == _START_OF_DATA:
            return
        if length < 2 or marker < 0xFF00:
            raise ImageError("a JPEG 2000 codestream whose header is damaged", reason=reasons.CORRUPT)
        if marker in (_CODING, _CODING_OF_COMPONENT):
            # Style, then five bytes of all components or the number of one; then levels and code blocks.
            own = marker == _CODING_OF_COMPONENT
            style = data[position + 4 + own : position + 5 + own]
            coding = data[position + (6 if own else 9) : position + 2 + length]
            if len(coding) < 5 or not style:
                struct.unpack_from("B", data, position + 2 + length)
                raise ImageError("a JPEG 2000 codestream whose header is damaged", reason=reasons.CORRUPT)
            blocks = tiles * _count_blocks(tile, coding, coding[5:] if style[0] & 1 else b"")
            if blocks > MAX_CODE_BLOCKS:
                raise refuse_costly(f"a JPEG 2000 image of {blocks:,} code blocks")
        position += 2 + length
    raise refuse_costly(f"a JPEG 2000 codestream with more than {MAX_SEGMENTS:,} segments before its data")


def _count_blocks(tile: tuple[int, int], coding: bytes, precincts: bytes) -> int:
    """Return how many precincts and code blocks a component of a tile has, about."""
    levels = min(coding[0], 32)
    block = (2 + (coding[1] & 15), 2 + (coding[2] & 15))
    total = 0
    for level in range(levels + 1):
        exponents = precincts[level] if level < len(precincts) else 0xFF
        precinct = (exponents & 15, exponents >> 4)
        sides = [max(1, side >> levels - level) for side in tile]
        for size in (precinct, [min(pair) for pair in zip(block, precinct, strict=True)]):
            total += (1 + (sides[0] >> size[0])) * (1 + (sides[1] >> size[1]))
    return total
