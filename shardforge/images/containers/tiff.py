"""TIFF 6.0 and BigTIFF: the first directory, and a file that has no other."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.containers.base import Header, ImageBytes, refuse_truncated
from shardforge.images.exif import ORIENTATION_TAG, find_orientation, valid_orientation
from shardforge.images.ifd import TYPE_BYTES, Layout, read_layout, read_number
from shardforge.images.limits import (
    MAX_PROFILE_BYTES,
    MAX_STRIPS,
    MAX_TIFF_TAGS,
    MAX_TILE_PIXELS,
    check_size,
    refuse_costly,
)

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANE_KIND = 273, 277, 278, 279, 284
_LARGEST, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 281, 322, 323, 324, 325
_EXTRA, _SAMPLE_FORMAT, _SAMPLE_LARGEST = 338, 339, 341
_XMP, _PROFILE = 700, 34675
#: Tags that make pixels: sizes, depths, colours, how they are packed, and where they lie.
_PIXEL_TAGS = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, _STRIPS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES}
    | {
        _PLANE_KIND,
        292,
        293,
        317,
        320,
        _TILE_WIDTH,
        _TILE_HEIGHT,
        _TILES,
        _TILE_BYTES,
        332,
        _EXTRA,
        _SAMPLE_FORMAT,
        347,
    }
    | {512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532}
)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR = 0, 1, 2, 6
_MULTIPLIED_ALPHA, _ALPHA = 1, 2
_UNCOMPRESSED = 1
_IN_PLANES = 2
_SHORT, _LONG, _LONG8 = 3, 4, 16


class _Entry(NamedTuple):
    """One entry of a directory: its field type, how many values it has, and where they lie."""

    field_type: int
    values: int
    place: int

    @property
    def size(self) -> int:
        return self.values * TYPE_BYTES[self.field_type]


@dataclass(frozen=True)
class _Directory:
    """The first directory of a file; `cut` are the tags whose values are not in the file."""

    file: ImageBytes
    layout: Layout
    entries: dict[int, _Entry]
    cut: frozenset[int]

    def value(self, tag: int, most: int) -> bytes | None:
        """Return the bytes of a tag's values, None where it has none, they are cut or more than `most`."""
        entry = self.entries.get(tag)
        if entry is None or entry.size > most:
            return None
        value = self.file.read(entry.place, entry.size)
        return value if len(value) == entry.size else None

    def number(self, tag: int, otherwise: int) -> int:
        """Return the first value of a tag."""
        entry = self.entries.get(tag)
        if entry is None:
            return otherwise
        value = self.file.read(entry.place, TYPE_BYTES[entry.field_type])
        found = read_number(self.layout.order, entry.field_type, value)
        return otherwise if found is None else int(found)


def read_tiff(file: ImageBytes) -> Header:
    """Read what the first directory says of the first page.

    Raises:
        ImageError: truncated, corrupt, too_many_pixels or too_costly.
    """
    directory = _read_directory(file)
    width, height = directory.number(_WIDTH, 0), directory.number(_HEIGHT, 0)
    check_size(width, height)
    notes: list[str] = []
    if ORIENTATION_TAG in directory.entries:
        orientation = valid_orientation(directory.number(ORIENTATION_TAG, 0))
    else:
        orientation = find_orientation(None, directory.value(_XMP, MAX_PROFILE_BYTES), notes)
    profile = directory.value(_PROFILE, MAX_PROFILE_BYTES)
    if profile is None and (_PROFILE in directory.entries or _PROFILE in directory.cut):
        notes.append("the colour profile is cut, or too long: taken for sRGB")
    return Header(width, height, "tiff", orientation, profile, _find_bits(directory), tuple(notes))


def _find_bits(directory: _Directory) -> tuple[int, ...]:
    """Return how many bits samples have by MaxSampleValue or SMaxSampleValue, or by their packing."""
    stored = directory.number(_BITS, 1)
    if stored < 16:
        return (stored,) if stored > 8 else ()
    for tag in (_SAMPLE_LARGEST, _LARGEST):
        if (largest := directory.number(tag, 0)) > 0:
            return (min(16, largest.bit_length()),)
    return ()


def _read_directory(file: ImageBytes) -> _Directory:
    """Read the entries of the first directory; of several of one tag the first counts."""
    layout = read_layout(file.read(0, 4))
    if layout is None:
        raise ImageError("a TIFF that does not begin as one", reason=reasons.CORRUPT)
    big = layout.room == 8
    (position,) = _unpack(layout.offset, file.read(8 if big else 4, layout.room))
    head = file.read(position, struct.calcsize(layout.order + layout.number))
    (number,) = _unpack(layout.order + layout.number, head)
    if number > MAX_TIFF_TAGS:
        raise refuse_costly(f"a TIFF directory of {number:,} tags")
    position += len(head)
    block = file.read(position, number * layout.entry_bytes)
    entries: dict[int, _Entry] = {}
    cut: set[int] = set()
    for at in range(0, len(block) - layout.entry_bytes + 1, layout.entry_bytes):
        tag, field_type, count = struct.unpack_from(layout.order + layout.entry, block, at)
        if field_type not in TYPE_BYTES or not count or tag in entries:
            continue
        place = at + layout.entry_bytes - layout.room
        inside = count * TYPE_BYTES[field_type] <= layout.room
        place = position + place if inside else struct.unpack_from(layout.offset, block, place)[0]
        entry = _Entry(field_type, count, place)
        if place + entry.size <= file.size:
            entries[tag] = entry
        else:
            cut.add(tag)
    return _Directory(file, layout, entries, frozenset(cut))


def _unpack(layout: str, data: bytes) -> tuple[int, ...]:
    if len(data) < struct.calcsize(layout):
        refuse_truncated()
    return struct.unpack(layout, data)


class TiffPixels(NamedTuple):
    """A TIFF of one page with no tags but those of its pixels.

    Attributes:
        data: the file.
        planes: the same as a grey TIFF for each colour and alpha, where they lie in planes of 16 bits.
        inverted: whether the largest of 16-bit samples is black, which Pillow leaves to its callers.
    """

    data: bytes
    planes: tuple[bytes, ...]
    inverted: bool


_Values = tuple[int, int, bytes]  # field type, number of values, values


def strip_tiff(data: bytes) -> TiffPixels:
    """Return the file with a new directory, behind all others' bytes, which has only tags of pixels.

    Raises:
        ImageError: corrupt, truncated, unsupported or too_costly.
    """
    directory = _read_directory(ImageBytes(data))
    _check_cost(directory)
    order = directory.layout.order
    tags = {tag: _take(directory, tag) for tag in directory.entries.keys() & _PIXEL_TAGS}
    colours = directory.number(_PHOTOMETRIC, _WHITE_IS_ZERO)
    planes: tuple[bytes, ...] = ()
    inverted = False
    if directory.number(_BITS, 1) == 16:
        inverted = colours == _WHITE_IS_ZERO
        samples = directory.number(_SAMPLES, 1)
        if colours == _RGB and directory.number(_PLANE_KIND, 1) == _IN_PLANES and samples in (3, 4):
            wanted = _visible_planes(directory, samples)
            planes = tuple(_write(data, order, _take_plane(order, tags, plane, samples)) for plane in range(wanted))
    return TiffPixels(_write(data, order, tags), planes, inverted)


def _take(directory: _Directory, tag: int) -> _Values:
    entry = directory.entries[tag]
    value = directory.file.read(entry.place, entry.size)
    if entry.field_type != _LONG8:
        return entry.field_type, entry.values, value
    return _LONG, entry.values, _shorten(directory.layout.order, value)


def _visible_planes(directory: _Directory, samples: int) -> int:
    """Return how many planes make the picture: not the fourth where it is something else than alpha."""
    extra = directory.number(_EXTRA, _ALPHA)
    if samples == 4 and extra == _MULTIPLIED_ALPHA:
        raise ImageError("a TIFF of 16-bit planes that are multiplied by alpha", reason=reasons.UNSUPPORTED)
    return samples if extra else 3


def _take_plane(order: str, tags: dict[int, _Values], plane: int, planes: int) -> dict[int, _Values]:
    """Return the tags of one plane as those of a grey image: its are every so many-th part of strips or tiles."""
    grey = {_BITS: 16, _SAMPLES: 1, _PHOTOMETRIC: _BLACK_IS_ZERO, _PLANE_KIND: 1}
    found = tags | {tag: (_SHORT, 1, struct.pack(f"{order}H", value)) for tag, value in grey.items()}
    for tag in (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _SAMPLE_FORMAT):
        if tag in tags:
            field_type, number, value = tags[tag]
            part = len(value) // planes
            found[tag] = (field_type, number // planes, value[plane * part : (plane + 1) * part])
    found.pop(_EXTRA, None)
    return found


def _write(data: bytes, order: str, tags: dict[int, _Values]) -> bytes:
    end = len(data) + len(data) % 2
    values = bytearray()
    values_at = end + 6 + 12 * len(tags)
    entries: list[bytes] = []
    for tag, (field_type, number, value) in sorted(tags.items()):
        content = value.ljust(4, b"\0")
        if len(value) > 4:
            content = struct.pack(f"{order}I", values_at + len(values))
            values += value + b"\0" * (len(value) % 2)
        entries.append(struct.pack(f"{order}HHI", tag, field_type, number) + content)
    magic = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", end)
    count = struct.pack(f"{order}H", len(entries))
    return b"".join((magic, data[8:], b"\0" * (end - len(data)), count, *entries, b"\0" * 4, values))


def _shorten(order: str, value: bytes) -> bytes:
    """Return 64-bit numbers as 32-bit ones: no file here is larger."""
    try:
        count = len(value) // 8
        return struct.pack(f"{order}{count}I", *struct.unpack(f"{order}{count}Q", value))
    except struct.error:
        raise ImageError("a BigTIFF whose pixels lie beyond its end", reason=reasons.TRUNCATED) from None


def _check_cost(directory: _Directory) -> None:
    """Hold strips and tiles, for which decoders take memory and time, against the size of the image."""
    width, height = directory.number(_WIDTH, 0), directory.number(_HEIGHT, 0)
    pixels = width * height
    planes = directory.number(_SAMPLES, 1) if directory.number(_PLANE_KIND, 1) == _IN_PLANES else 1
    across, down = directory.number(_TILE_WIDTH, 0), directory.number(_TILE_HEIGHT, 0)
    if _TILES in directory.entries and across > 0 and down > 0:
        pieces = -(-width // across) * -(-height // down)
        if pieces * across * down > max(4 * pixels, MAX_TILE_PIXELS):
            raise refuse_costly(f"a TIFF of {width} x {height} pixels in tiles of {across} x {down}")
    else:
        rows = directory.number(_ROWS_PER_STRIP, height)
        pieces = -(-height // rows) if rows > 0 else height
    named = max((directory.entries[tag].values for tag in (_STRIPS, _TILES) if tag in directory.entries), default=0)
    if max(pieces * planes, named) > MAX_STRIPS:
        raise refuse_costly(f"a TIFF in {max(pieces * planes, named):,} strips or tiles")
    colours = directory.number(_PHOTOMETRIC, _WHITE_IS_ZERO)
    if directory.number(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED and colours != _YCBCR:
        bits = directory.number(_BITS, 1) * directory.number(_SAMPLES, 1)
        if pixels * bits // 8 > directory.file.size:
            raise ImageError("the tiff ends too early", reason=reasons.TRUNCATED)
