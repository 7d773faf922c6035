"""The one EXIF field that changes what an image shows: its orientation."""

from __future__ import annotations

import struct

ORIENTATION_TAG = 0x0112
UPRIGHT = 1

_BYTE_ORDER = {b"II*\0": "<", b"MM\0*": ">"}
_ENTRY_BYTES = 12
_VALUE_FORMAT = {1: "B", 3: "H", 4: "I"}  # TIFF field types BYTE, SHORT, LONG: writers use all three


def read_orientation(block: bytes) -> int:
    """Return the orientation, 1 to 8, that an EXIF block asks for; 1 when it has none or is damaged.

    Args:
        block: the TIFF structure of EXIF 2.3 section 4.5, with or without the leading `Exif\\0\\0`.
    """
    if block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = _BYTE_ORDER.get(block[:4])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, directory)
        for entry in range(directory + 2, directory + 2 + entries * _ENTRY_BYTES, _ENTRY_BYTES):
            tag, field_type = struct.unpack_from(f"{order}HH", block, entry)
            if tag == ORIENTATION_TAG and field_type in _VALUE_FORMAT:
                (value,) = struct.unpack_from(order + _VALUE_FORMAT[field_type], block, entry + 8)
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT
