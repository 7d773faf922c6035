"""PNM: the headers of netpbm's PBM, PGM and PPM, and their binary samples of other depths than 8 bits."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.containers.base import Header
from shardforge.images.limits import MAX_SLOW, check_size, refuse_costly

_BLANK = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])++"
_NUMBER = rb"(\d{1,10})"
_BITMAP = re.compile(rb"P([14])" + (_BLANK + _NUMBER) * 2 + rb"[ \t\r\n\v\f]")
_MAP = re.compile(rb"P([2356])" + (_BLANK + _NUMBER) * 3 + rb"[ \t\r\n\v\f]")
_INCOMPLETE = re.compile(rb"P[1-6](?:[ \t\r\n\v\f0-9]|#[^\r\n]*(?:[\r\n]|\Z))*+\Z")
_HEADER_BYTES = 1 << 16
_PLAIN = (1, 2, 3)
_CHANNELS = {5: 1, 6: 3}


def is_pnm(start: bytes) -> bool:
    """Whether a file begins as one of them."""
    return start[:1] == b"P" and start[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and start[2:3].isspace()


def read_pnm(data: bytes) -> Header | None:
    """Read width and height, or return None when more bytes are needed.

    Raises:
        ImageError: corrupt or too_many_pixels.
    """
    found = _find_header(data)
    if found is None:
        if not _INCOMPLETE.match(data[:_HEADER_BYTES]):
            raise ImageError("the header of the ppm is damaged", reason=reasons.CORRUPT)
        if len(data) >= _HEADER_BYTES:
            raise refuse_costly(f"a PNM whose header has more than {_HEADER_BYTES:,} bytes")
        return None
    width, height = int(found[2]), int(found[3])
    check_size(width, height)
    return Header(width, height, "ppm")


def decode_pnm(data: bytes, header: Header) -> npt.NDArray[np.uint16] | None:
    """Return samples of binary files of other depths than 8 bits, scaled to 16, shape [height, width, 1 or 3].

    Others are left to Pillow, as long as it can read them in good time: None.

    Raises:
        ImageError: corrupt, truncated or too_costly.
    """
    found = _find_header(data)
    if found is None:
        raise ImageError("the header of the ppm is damaged", reason=reasons.CORRUPT)
    kind = int(found[1])
    if kind in _PLAIN and max(len(data), header.width * header.height) > MAX_SLOW:
        raise refuse_costly(f"a plain PNM of {len(data):,} bytes")
    largest = int(found[4]) if kind in (2, 3, 5, 6) else 1
    if not 0 < largest < 1 << 16:
        raise ImageError(f"a PNM whose largest value is {largest}", reason=reasons.CORRUPT)
    if kind not in _CHANNELS or largest == 255:
        return None
    count = header.width * header.height * _CHANNELS[kind]
    kept = np.dtype(np.uint8 if largest < 256 else ">u2")
    if len(data) - found.end() < count * kept.itemsize:
        raise ImageError("the ppm ends too early", reason=reasons.TRUNCATED)
    samples = np.frombuffer(data, kept, count, found.end())
    values = np.minimum(np.arange(1 << 16, dtype=np.uint32), largest)
    scaled: npt.NDArray[np.uint16] = ((values * 0xFFFF + largest // 2) // largest).astype(np.uint16)[samples]
    return scaled.reshape(header.height, header.width, _CHANNELS[kind])


def _find_header(data: bytes) -> re.Match[bytes] | None:
    return (_BITMAP if data[1:2] in (b"1", b"4") else _MAP).match(data[:_HEADER_BYTES])


def strip_pnm(data: bytes) -> bytes:
    """Return a file without comments in its header, which Pillow reads byte by byte."""
    found = _find_header(data)
    return data if found is None else b"P" + b" ".join(found.groups()) + b"\n" + data[found.end() :]
