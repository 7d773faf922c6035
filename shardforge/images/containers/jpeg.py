"""JPEG: the segments of ITU T.81 annex B."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.containers.base import Header
from shardforge.images.exif import EXIF_PREFIX, find_orientation
from shardforge.images.limits import MAX_SCANNED_PIXELS, MAX_SCANS, MAX_SEGMENTS, check_size, refuse_costly

MAGIC = b"\xff\xd8\xff"

_SEGMENT = struct.Struct(">HH").unpack_from  # marker, length
_FRAME = struct.Struct(">BHH").unpack_from  # bits per colour, height, width
_START_OF_FRAME = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})  # second bytes of markers
_WITHOUT_LENGTH = frozenset({0xFF01, *range(0xFFD0, 0xFFD8)})
_END_OF_IMAGE = 0xFFD9
_START_OF_SCAN = 0xFFDA
_END_OF_HEADER = frozenset({_END_OF_IMAGE, _START_OF_SCAN})
_APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT = 0xFFE0, 0xFFE1, 0xFFE2, 0xFFEE, 0xFFEF, 0xFFFE
_WITH_METADATA = frozenset({_APP1, _APP2})
#: What libjpeg takes from application segments, with the length from which on it does.
_KEPT = {_APP0: (b"JFIF\0", 14), _APP14: (b"Adobe", 12)}

_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_PROFILE_PREFIX = b"ICC_PROFILE\0"
_PROFILE_PART = len(_PROFILE_PREFIX) + 2  # number of this part and of all
_PROFILE_ROOM = 0xFFFF - 2 - _PROFILE_PART

_SCAN_BYTES = b"\xff\xda"
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def read_jpeg(data: bytes) -> Header | None:
    """Walk the segments up to the frame header, or return None when more bytes are needed.

    Metadata lies before it: EXIF and XMP in APP1, a colour profile in APP2, each in one or several segments.

    Raises:
        ImageError: corrupt, unsupported, too_many_pixels or too_costly.
    """
    metadata: list[bytes] = []
    position = 2
    try:
        for _ in range(MAX_SEGMENTS):
            marker, length = _SEGMENT(data, position)
            if marker in _START_OF_FRAME:
                bits, height, width = _FRAME(data, position + 4)
                if bits != 8:
                    raise ImageError(
                        f"a JPEG of {bits} bits per colour; only 8 can be decoded", reason=reasons.UNSUPPORTED
                    )
                check_size(width, height)
                header = _describe(width, height, metadata) if metadata else Header(width, height, "jpeg")
                header.frame = position
                return header
            if marker in _WITH_METADATA:
                block = data[position + 4 : position + 2 + length]
                if len(block) < length - 2:
                    return None
                metadata.append(block)
            position = _next_marker(data, position, marker, length)
    except struct.error:
        return None
    raise refuse_costly(f"a JPEG with more than {MAX_SEGMENTS:,} segments before its size")


def _next_marker(data: bytes, position: int, marker: int, length: int) -> int:
    if 0xFF01 < marker < 0xFFFF and marker not in _WITHOUT_LENGTH:
        if marker in _END_OF_HEADER or length < 2:
            raise ImageError("a JPEG without a size before its image data", reason=reasons.CORRUPT)
        return position + 2 + length
    if marker in _WITHOUT_LENGTH:
        return position + 2
    # Fill bytes and stray bytes: decoders search for the next marker.
    found = data.find(b"\xff", position + 1)
    return found if found >= 0 else len(data)


def _describe(width: int, height: int, metadata: Sequence[bytes]) -> Header:
    notes: list[str] = []
    exif = [block for block in metadata if block.startswith(EXIF_PREFIX)]
    xmp = [block for block in metadata if block.startswith(_XMP_PREFIX)]
    orientation = find_orientation(
        b"".join([block.removeprefix(EXIF_PREFIX) if part else block for part, block in enumerate(exif)]),
        xmp[-1] if xmp else None,
        notes,
    )
    parts = sorted(block[len(_PROFILE_PREFIX) :] for block in metadata if block.startswith(_PROFILE_PREFIX))
    profile = None
    if parts:
        if [part[:2] for part in parts] == [bytes((number, len(parts))) for number in range(1, len(parts) + 1)]:
            profile = b"".join(part[2:] for part in parts)
        else:
            notes.append("the colour profile is not whole: taken for sRGB")
    return Header(width, height, "jpeg", orientation, profile, notes=tuple(notes))


def strip_jpeg(data: bytes) -> bytes:
    """Return the file without comments and those application segments that do not tell how colours are stored.

    Raises:
        ImageError: corrupt or truncated.
    """
    kept = [data[:2]]
    position = 2
    for marker, position, end in _iter_segments(data):
        if marker == _START_OF_SCAN:
            break
        prefix, length = _KEPT.get(marker, (b"", 0))
        content = data[position + 4 : end]
        if marker in _KEPT:
            keeps = content.startswith(prefix) and len(content) >= length
        else:
            keeps = not _APP0 <= marker <= _APP15 and marker != _COMMENT
        if keeps:
            kept.append(data[position:end])
    return b"".join([*kept, data[position:]])


def check_scans(data: bytes, header: Header) -> None:
    """Refuse a JPEG whose many scans would cost more than its pixels are worth.

    Raises:
        ImageError: too_costly.
    """
    scan = _find_many_scans(data, header.frame)
    if scan is not None:
        most = max(MAX_SCANS, MAX_SCANNED_PIXELS // (header.width * header.height))
        scans = data.count(_SCAN_BYTES, scan)  # which may count some that are none
        if scans > most and (scans := _count_scans(data, scan)) > most:
            raise refuse_costly(f"a JPEG of {header.width} x {header.height} pixels in {scans:,} scans")


def _find_many_scans(data: bytes, frame: int) -> int | None:
    """Return where the first scan begins, when others may follow: it is progressive, or lacks some of the colours."""
    try:
        position = frame
        for _ in range(MAX_SEGMENTS):
            marker, length = _SEGMENT(data, position)
            if marker == _START_OF_SCAN:
                alone = data[position + 4] == data[frame + 9] and data[frame + 1] not in _PROGRESSIVE
                return None if alone else position
            position = _next_marker(data, position, marker, length)
    except (struct.error, IndexError):
        return None  # decoders say what is wrong with it
    raise refuse_costly(f"a JPEG with more than {MAX_SEGMENTS:,} segments before its image data")


def _count_scans(data: bytes, position: int) -> int:
    scans = 0
    while found := _MARKER.search(data, position):
        marker, length = int.from_bytes(found[0]), int.from_bytes(data[found.end() : found.end() + 2])
        if marker == _END_OF_IMAGE:
            break
        scans += marker == _START_OF_SCAN
        position = found.end() + length
    return scans


def _iter_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker, the position and the end of each segment up to the first scan."""
    position = 2
    try:
        for _ in range(MAX_SEGMENTS):
            marker, length = _SEGMENT(data, position)
            if marker == _START_OF_SCAN:
                yield marker, position, position + 2 + length
                return
            end = _next_marker(data, position, marker, length)
            if 0xFF01 < marker < 0xFFFF and marker not in _WITHOUT_LENGTH:
                yield marker, position, end
            position = end
    except struct.error:
        pass
    raise ImageError("the jpeg ends before its image data", reason=reasons.TRUNCATED)


def embed_profile(jpeg: bytes, profile: bytes) -> bytes:
    """Return a JPEG that begins with a JFIF segment with a colour profile behind that (ICC.1 annex B.4)."""
    _, length = _SEGMENT(jpeg, 2)
    parts = [profile[at : at + _PROFILE_ROOM] for at in range(0, len(profile), _PROFILE_ROOM)]
    segments = [
        struct.pack(">HH", _APP2, 2 + _PROFILE_PART + len(part)) + _PROFILE_PREFIX + bytes((number, len(parts))) + part
        for number, part in enumerate(parts, 1)
    ]
    return b"".join([jpeg[: 4 + length], *segments, jpeg[4 + length :]])
