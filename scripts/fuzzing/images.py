"""Headers of images: `shardforge.images.header`, from memory against from a file, and from the first bytes alone."""

from __future__ import annotations

import io
import os
import struct
import zlib

from fuzzing.target import Target, require
from PIL import Image

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.header import Header, read_file_header, read_header, read_whole_header

_HANDLE = os.memfd_create("image")
_PNG = b"\x89PNG\r\n\x1a\n"
#: What is written where in front of an image in a file.
_BEFORE = b"tar" * 7


def make_seeds() -> list[bytes]:
    picture = Image.linear_gradient("L").resize((19, 13)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = b"\0" * 36 + b"acsp" + b"\0" * 100
    tagged = {"exif": exif, "icc_profile": profile}
    kinds: list[tuple[Image.Image, str, dict[str, object]]] = [
        *((picture, kind, {}) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "PPM", "AVIF")),
        *((picture, kind, tagged) for kind in ("JPEG", "PNG", "WEBP", "TIFF")),
        (picture, "JPEG", {"progressive": True, "comment": "x" * 40}),
        (picture.convert("CMYK"), "JPEG", {}),
        (picture, "WEBP", {"lossless": True}),
        (picture.convert("RGBA"), "WEBP", {"save_all": True, "append_images": [picture.convert("RGBA").rotate(9)]}),
        (picture.convert("P"), "GIF", {"save_all": True, "append_images": [picture.rotate(9)]}),
        (picture.convert("I;16"), "PNG", {}),
        (picture.convert("P"), "PNG", {"transparency": 1}),
        (picture.convert("1"), "PPM", {}),
        (picture.convert("1"), "TIFF", {"compression": "group4"}),
        (picture, "TIFF", {"compression": "tiff_lzw", "big_tiff": True}),
        (picture.convert("L"), "JPEG2000", {"no_jp2": True}),
    ]
    seeds = []
    for image, kind, options in kinds:
        held = io.BytesIO()
        image.save(held, kind, **options)
        seeds.append(held.getvalue())
    return [*seeds, b"P3\n# x\n2 1 255\n1 2 3 4 5 6\n", b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\nab"]


def mend(data: bytes) -> bytes:
    """Return a PNG with the CRC-32s of its chunks made right; other formats have none."""
    if not data.startswith(_PNG):
        return data
    whole, place = bytearray(data), len(_PNG)
    while place + 12 <= len(whole):
        (length,) = struct.unpack_from(">I", whole, place)
        end = place + 8 + length
        if end + 4 > len(whole):
            break
        struct.pack_into(">I", whole, end, zlib.crc32(whole[place + 4 : end]))
        place = end + 4
    return bytes(whole)


def check(data: bytes) -> None:
    whole = read_memory(data)
    os.ftruncate(_HANDLE, 0)
    os.pwrite(_HANDLE, _BEFORE + data + _BEFORE, 0)
    try:
        stored: Header | str = read_file_header(_HANDLE, len(data), len(_BEFORE))
    except ImageError as error:
        stored = error.reason
    require(stored == whole, f"in a file it is {stored}, in memory {whole}")
    try:
        header = read_header(data[: len(data) * 2 // 3])
    except ImageError:
        return
    if header is not None and isinstance(whole, Header):
        sizes = [(found.width, found.height, found.format) for found in (header, whole)]
        require(sizes[0] == sizes[1], f"by its first bytes it is {header}, as a whole {whole}")


def read_memory(data: bytes) -> Header | str:
    """Return the header, or why there is none."""
    try:
        header = read_whole_header(data)
    except ImageError as error:
        require(error.reason in vars(reasons).values(), error.reason)
        return error.reason
    require(header.width > 0 and header.height > 0 and 1 <= header.orientation <= 8, header)
    return header


TARGET = Target(make_seeds, check, mend, most=1 << 12)
