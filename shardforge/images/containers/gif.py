"""GIF: the blocks of version 89a up to the first image."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.containers.base import Header
from shardforge.images.limits import MAX_PROFILE_BYTES, check_size, refuse_costly

MAGICS = (b"GIF87a", b"GIF89a")

_SCREEN = struct.Struct("<HHB").unpack_from  # width, height, flags
_PLACE = struct.Struct("<HHHH").unpack_from  # left, top, width, height
_SCREEN_END = 13
_DESCRIPTOR_BYTES = 10
_PALETTE_FLAG, _PALETTE_BITS = 0x80, 0x07
_CONTROL, _APPLICATION = b"\xf9", b"\xff"
_DISPOSAL = 0x1C
_MOST_BLOCKS = 2**18
_PROFILE = b"ICCRGBG1012"


class _FirstImage(NamedTuple):
    """What stands before the first image: the palette's end, the control block, the profile, the image's place."""

    palette_end: int
    control: bytes
    profile: bytes
    descriptor: int


def read_gif(data: bytes) -> Header | None:
    """Read the size of the screen and of the first image, or return None when more bytes are needed.

    The image is as wide as both together, as Pillow has it.

    Raises:
        ImageError: corrupt, too_many_pixels or too_costly.
    """
    if len(data) < _SCREEN_END:
        raise ImageError("the header of the gif is damaged", reason=reasons.CORRUPT)
    if (first := _find_first_image(data)) is None:
        return None
    width, height, _ = _SCREEN(data, 6)
    left, top, across, down = _PLACE(data, first.descriptor + 1)
    width, height = max(width, left + across), max(height, top + down)
    check_size(width, height)
    return Header(width, height, "gif", profile=first.profile or None)


def strip_gif(data: bytes) -> bytes:
    """Return the file without what stands before the first image, but for the palette and what is transparent."""
    if (first := _find_first_image(data)) is None:
        raise ImageError("the gif ends too early", reason=reasons.TRUNCATED)
    control = b""
    if len(first.control) >= 4:
        flags = first.control[0] & ~_DISPOSAL  # what comes after the first image is of no interest
        control = b"!" + _CONTROL + bytes((4, flags)) + first.control[1:4] + b"\0"
    return data[: first.palette_end] + control + data[first.descriptor :]


def _find_first_image(data: bytes) -> _FirstImage | None:
    _, _, flags = _SCREEN(data, 6)
    palette_end = position = _SCREEN_END + _palette_bytes(flags)
    control = profile = b""
    steps = iter(range(_MOST_BLOCKS))
    for _ in steps:
        mark = data[position : position + 1]
        if mark == b",":
            whole = len(data) >= position + _DESCRIPTOR_BYTES
            return _FirstImage(palette_end, control, profile, position) if whole else None
        if mark == b"!":
            kind = data[position + 1 : position + 2]
            first, rest, position = _read_blocks(data, position + 2, steps)
            if kind == _CONTROL:
                control = first
            elif kind == _APPLICATION and first == _PROFILE:
                profile = rest
        elif mark == b";":
            raise ImageError("a GIF without an image", reason=reasons.CORRUPT)
        elif mark:
            position += 1
        else:
            return None
    raise refuse_costly(f"a GIF with more than {_MOST_BLOCKS:,} blocks before its first image")


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & _PALETTE_BITS) + 1 if flags & _PALETTE_FLAG else 0


def _read_blocks(data: bytes, position: int, steps: Iterator[int]) -> tuple[bytes, bytes, int]:
    """Return the first block of an extension, the others as one where they are a profile, and where they end."""
    first = None
    profile = bytearray()
    for _ in steps:
        length = data[position] if position < len(data) else 0
        block = data[position + 1 : position + 1 + length]
        position += 1 + length
        if not length:
            break
        if first is None:
            first = block
        elif first == _PROFILE and len(profile) <= MAX_PROFILE_BYTES:
            profile += block
    return first or b"", bytes(profile), position
