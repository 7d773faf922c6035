"""WebP: the chunks of RFC 9649."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.containers.base import Header, ImageBytes
from shardforge.images.exif import find_orientation
from shardforge.images.limits import MAX_PROFILE_BYTES, MAX_SEGMENTS, check_size, refuse_costly

MAGIC = b"RIFF"  # "WEBP" is at byte 8

_CHUNK = struct.Struct("<4sI").unpack_from  # kind, length
_FIRST_CHUNK = 12
_HEADER_BYTES = 30
_PROFILE_FLAG, _ALPHA_FLAG, _EXIF_FLAG, _XMP_FLAG, _ANIMATION_FLAG = 0x20, 0x10, 0x08, 0x04, 0x02
#: Which flag of the extended header announces a chunk: decoders pass over others.
_METADATA = {b"ICCP": _PROFILE_FLAG, b"EXIF": _EXIF_FLAG, b"XMP ": _XMP_FLAG}
_NAMES = {b"ICCP": "the colour profile", b"EXIF": "the EXIF block", b"XMP ": "XMP"}
_PIXELS = frozenset({b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF"})
_IMAGES = frozenset({b"VP8 ", b"VP8L", b"ANMF"})


def read_webp(file: ImageBytes) -> Header:
    """Read the first chunk, and the metadata that its extended form announces.

    Raises:
        ImageError: truncated, corrupt, too_many_pixels or too_costly.
    """
    while len(file.start) < _HEADER_BYTES:
        file.grow()
    start = file.start
    kind = start[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(start[at : at + 3], "little") for at in (24, 27))
        check_size(width, height)
        return _read_extended(file, width, height, start[20])
    if kind == b"VP8L" and start[20] == 0x2F:
        bits = int.from_bytes(start[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 " and start[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", start, 26))
        check_size(width, height)
    else:
        raise ImageError("a WebP whose first chunk holds no image", reason=reasons.CORRUPT)
    return Header(width, height, "webp")


def _read_extended(file: ImageBytes, width: int, height: int, flags: int) -> Header:
    wanted = {kind for kind, flag in _METADATA.items() if flags & flag}
    found: dict[bytes, bytes] = {}
    notes: list[str] = []
    if wanted:
        for kind, position, length in _iter_chunks(file):
            if kind not in wanted or kind in found:
                continue
            content = file.read(position + 8, min(length, MAX_PROFILE_BYTES))
            if len(content) < length:
                notes.append(f"{_NAMES[kind]} is cut, or too long")
            else:
                found[kind] = content
            if len(found) == len(wanted):
                break
    orientation = find_orientation(found.get(b"EXIF"), found.get(b"XMP "), notes)
    return Header(width, height, "webp", orientation, found.get(b"ICCP"), notes=tuple(notes))


def _iter_chunks(file: ImageBytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, position and length of each chunk that begins before the end that the file names for itself."""
    end = min(8 + int.from_bytes(file.start[4:8], "little"), file.size)
    position = _FIRST_CHUNK
    for _ in range(MAX_SEGMENTS):
        if position + 8 > end or len(begin := file.read(position, 8)) < 8:
            return
        kind, length = _CHUNK(begin)
        yield kind, position, length
        position += 8 + length + length % 2
    raise refuse_costly(f"a WebP of more than {MAX_SEGMENTS:,} chunks")


class WebpPixels(NamedTuple):
    """A WebP of the chunks that make the pixels of its first frame, and whether there were more frames."""

    data: bytes
    animated: bool


def strip_webp(data: bytes) -> WebpPixels:
    """Return a file of the first frame alone, without metadata.

    Raises:
        ImageError: truncated, corrupt or too_costly.
    """
    extended = data[12:16] == b"VP8X"
    flags = data[20] & (_ALPHA_FLAG | _ANIMATION_FLAG) if extended else 0
    kept = [b"VP8X", (10).to_bytes(4, "little"), bytes((flags,)), data[21:30]] if extended else []
    frames = 0
    for kind, position, length in _iter_chunks(ImageBytes(data)):
        if kind in _PIXELS and not frames:
            end = position + 8 + length + length % 2
            if end > len(data):
                break
            kept.append(data[position:end])
        if kind in _IMAGES:
            frames += 1
            if frames > 1 or not flags & _ANIMATION_FLAG:
                break
    if not frames:
        whole = len(data) >= 8 + int.from_bytes(data[4:8], "little")
        why = "holds no image" if whole else "ends too early"
        raise ImageError(f"the webp {why}", reason=reasons.CORRUPT if whole else reasons.TRUNCATED)
    content = b"WEBP" + b"".join(kept)
    return WebpPixels(MAGIC + len(content).to_bytes(4, "little") + content, frames > 1)
