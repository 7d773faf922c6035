"""Directories of TIFF 6.0, section 2, which EXIF and BigTIFF share: entries of tag, type, count and value."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

#: Bytes of one value by field type; what has another type is passed over.
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
#: Types that hold numbers, as `struct` reads them; rationals are two. A BYTE is no number: Pillow has it as bytes.
_NUMBERS = {3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q"}

_BYTE_ORDER = {b"II": "<", b"MM": ">"}


class Layout(NamedTuple):
    """How the entries of a file's directories are laid out.

    Attributes:
        order: `<` or `>`, the byte order as `struct` writes it.
        number: `struct` format of the number of entries before them.
        entry: that of an entry: tag, type, number of values, then the values or where they lie.
        room: bytes of values that an entry holds itself.
    """

    order: str
    number: str
    entry: str
    room: int

    @property
    def entry_bytes(self) -> int:
        """Return the bytes of an entry."""
        return struct.calcsize(self.order + self.entry) + self.room

    @property
    def offset(self) -> str:
        """Return the `struct` format of an offset."""
        return self.order + ("Q" if self.room == 8 else "I")


def read_layout(start: bytes) -> Layout | None:
    """Return the layout that the first four bytes of a TIFF tell, or None when they are not those of one."""
    order = _BYTE_ORDER.get(start[:2])
    # As Pillow reads it: either order of the version, whatever that of the rest.
    version = {b"*\0": 42, b"\0*": 42, b"+\0": 43, b"\0+": 43}.get(start[2:4])
    if order is None or version is None:
        return None
    return Layout(order, "Q", "HHQ", 8) if version == 43 else Layout(order, "H", "HHI", 4)


def read_number(order: str, field_type: int, value: bytes) -> float | None:
    """Return the first number of a value, or None where it holds none."""
    layout = _NUMBERS.get(field_type)
    if layout is None or len(value) < TYPE_BYTES[field_type]:
        return None
    first, *denominator = struct.unpack_from(order + layout, value)
    if denominator:
        return first / denominator[0] if denominator[0] else None
    return first if math.isfinite(first) else None
