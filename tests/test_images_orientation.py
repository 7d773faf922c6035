"""Orientation: turned as Pillow's `exif_transpose` turns it, wherever it stands, by header and by pixels."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import PICTURE, chunk, decode, encode, exif_block, grey_tags, jpeg, png, tiff, with_tags, xmp_packet
from PIL import Image, ImageOps

from shardforge.images.convert import CODECS, Conversion, convert_image
from shardforge.images.header import read_file_header, read_whole_header
from shardforge.loader.pixels import decode_image

PREFIX = b"Exif\0\0"
EXIF = 0xE1
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
XMP_ELEMENT = b"<rdf:Description><tiff:Orientation>8</tiff:Orientation></rdf:Description>"
WITHOUT = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0100, 3, 1, 7, 0, 0)


def entries(*values: bytes) -> bytes:
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + b"".join(values) + b"\0" * 4


def entry(tag: int, field_type: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, field_type, count) + value.ljust(4, b"\0")


SIX = entry(0x0112, 3, 1, b"\6\0")
XMP_TEXT = b"XML:com.adobe.xmp\0"
RAW = b"\nexif\n%8d\n" % 40 + (PREFIX + exif_block(6)).hex().encode() + b"\n"
WEBP = {"lossless": True}
FILES = {
    "JPEG, a segment": jpeg((EXIF, PREFIX + exif_block(6))),
    "JPEG, big end first": jpeg((EXIF, PREFIX + exif_block(6, ">"))),
    "JPEG, a doubled prefix": jpeg((EXIF, PREFIX * 2 + exif_block(6))),
    "JPEG, an empty segment first": jpeg((EXIF, PREFIX), (EXIF, PREFIX + exif_block(6))),
    "JPEG, two segments of one block": jpeg((EXIF, PREFIX + exif_block(6)[:15]), (EXIF, PREFIX + exif_block(6)[15:])),
    "JPEG, two blocks": jpeg((EXIF, PREFIX + exif_block(6)), (EXIF, PREFIX + exif_block(3))),
    "JPEG, XMP first": jpeg((EXIF, XMP_PREFIX + xmp_packet(3)), (EXIF, PREFIX + exif_block(6))),
    "JPEG, XMP alone": jpeg((EXIF, XMP_PREFIX + xmp_packet(6))),
    "JPEG, XMP as an element": jpeg((EXIF, XMP_PREFIX + XMP_ELEMENT)),
    "JPEG, two packets of XMP": jpeg((EXIF, XMP_PREFIX + xmp_packet(6)), (EXIF, XMP_PREFIX + xmp_packet(3))),
    "JPEG, XMP beside EXIF without": jpeg((EXIF, PREFIX + WITHOUT), (EXIF, XMP_PREFIX + xmp_packet(6))),
    "JPEG, XMP beside EXIF that is upright": jpeg((EXIF, PREFIX + exif_block(1)), (EXIF, XMP_PREFIX + xmp_packet(6))),
    "JPEG, XMP beside an impossible turn": jpeg((EXIF, PREFIX + exif_block(9)), (EXIF, XMP_PREFIX + xmp_packet(6))),
    "JPEG, an impossible turn in XMP": jpeg((EXIF, XMP_PREFIX + xmp_packet(9))),
    "JPEG, behind other segments": jpeg((0xE0, b"JFXX\0"), (0xED, bytes(60_000)), (EXIF, PREFIX + exif_block(6))),
    "JPEG, another number": jpeg((EXIF, PREFIX + exif_block(6, "<", 4))),
    "JPEG, a signed number": jpeg((EXIF, PREFIX + exif_block(6, "<", 8))),
    "JPEG, a float": jpeg((EXIF, PREFIX + exif_block(6, "<", 11))),
    "JPEG, a byte": jpeg((EXIF, PREFIX + exif_block(6, "<", 1))),
    "JPEG, twice": jpeg((EXIF, PREFIX + entries(SIX, entry(0x0112, 3, 1, b"\3\0")))),
    "JPEG, no value first": jpeg((EXIF, PREFIX + entries(entry(0x0112, 3, 0, b"\3\0"), SIX))),
    "JPEG, two values": jpeg((EXIF, PREFIX + entries(entry(0x0112, 3, 2, b"\6\0\3\0")))),
    "JPEG, an unknown type first": jpeg((EXIF, PREFIX + entries(entry(0x010F, 99, 2**32 - 1, b"\1"), SIX))),
    "JPEG, 2^32 values first": jpeg((EXIF, PREFIX + entries(entry(0x010F, 12, 2**32 - 1, b"\1"), SIX))),
    "JPEG, values beyond the end first": jpeg((EXIF, PREFIX + entries(entry(0x010F, 2, 9, b"\xff" * 4), SIX))),
    "JPEG, more entries than there are": jpeg((EXIF, PREFIX + entries(SIX).replace(b"\1\0\x12", b"\xff\xff\x12"))),
    "JPEG, cut before it": jpeg((EXIF, PREFIX + exif_block(6)[:20])),
    "PNG, eXIf": png(chunk(b"eXIf", exif_block(6))),
    "PNG, eXIf with a prefix": png(chunk(b"eXIf", PREFIX + exif_block(6))),
    "PNG, eXIf behind the data": png(after=[chunk(b"eXIf", exif_block(6))]),
    "PNG, XMP": png(chunk(b"iTXt", XMP_TEXT + b"\0\0\0\0" + xmp_packet(6))),
    "PNG, XMP behind the data": png(after=[chunk(b"iTXt", XMP_TEXT + b"\0\0\0\0" + xmp_packet(6))]),
    "PNG, packed XMP": png(chunk(b"iTXt", XMP_TEXT + b"\1\0en\0\0" + zlib.compress(xmp_packet(6)))),
    "PNG, XMP as other text": png(chunk(b"tEXt", XMP_TEXT + xmp_packet(6))),
    "PNG, a raw profile": png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW))),
    "PNG, a raw profile that is not packed": png(chunk(b"tEXt", b"Raw profile type exif\0" + RAW)),
    "PNG, eXIf beside a raw profile": png(
        chunk(b"eXIf", exif_block(3)), chunk(b"tEXt", b"Raw profile type exif\0" + RAW)
    ),
    "PNG, nothing": png(chunk(b"tEXt", b'Comment\0tiff:Orientation="6"')),
    "WebP, EXIF": encode(PICTURE, "WEBP", exif=exif_block(6), **WEBP),
    "WebP, EXIF with two prefixes": encode(PICTURE, "WEBP", exif=PREFIX * 3 + exif_block(6), **WEBP),
    "WebP, XMP": encode(PICTURE, "WEBP", xmp=xmp_packet(6), **WEBP),
    "WebP, both": encode(PICTURE, "WEBP", exif=WITHOUT, xmp=xmp_packet(6), **WEBP),
    "TIFF": encode(PICTURE, "TIFF", tiffinfo={274: 6}),
    "TIFF, packed": encode(PICTURE, "TIFF", tiffinfo={274: 6}, compression="tiff_lzw"),
    "TIFF, XMP": encode(PICTURE, "TIFF", tiffinfo={700: xmp_packet(6)}),
    "TIFF, both": encode(PICTURE, "TIFF", tiffinfo={274: 3, 700: xmp_packet(6)}),
    "BigTIFF": encode(PICTURE, "TIFF", tiffinfo={274: 6}, big_tiff=True),
    "AVIF, XMP": encode(PICTURE, "AVIF", xmp=xmp_packet(6)),
    **{f"AVIF, {turn}": encode(PICTURE, "AVIF", exif=exif_block(turn)) for turn in range(1, 9)},
    **{f"JPEG, {turn}": jpeg((EXIF, PREFIX + exif_block(turn))) for turn in range(1, 9)},
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, when it is asked itself
def test_pictures_are_turned_as_pillow_turns_them(name: str, tmp_path: Path) -> None:
    data = FILES[name]
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    for codec in CODECS:
        result = decode(convert_image(data, Conversion(format="png", codec=codec)).data)
        assert result.shape == expected.shape
        assert np.abs(result - expected).max() <= (3 if codec == "fast" else 0)
    assert np.abs(np.asarray(decode_image(data)).astype(int) - expected).max() <= 3
    header = read_whole_header(data)
    upright = (header.height, header.width) if header.swaps_axes else (header.width, header.height)
    assert upright == expected.shape[1::-1]
    path = tmp_path / "image"
    path.write_bytes(b"before" + data + b"behind")
    with open(path, "rb") as file:
        assert read_file_header(file.fileno(), len(data), 6) == header


@pytest.mark.parametrize("length", [1, 100, 8192])
@pytest.mark.parametrize("tail", [0, 3, 9000, 40_000])
def test_a_turn_behind_the_data_of_a_png_is_found_in_a_few_reads(
    length: int, tail: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 100, 3), dtype=np.uint8)
    whole = encode(Image.fromarray(noise), "PNG")
    begin = whole.index(b"IDAT") - 4
    packed = b""
    while whole[begin + 4 : begin + 8] == b"IDAT":
        size = int.from_bytes(whole[begin : begin + 4])
        packed += whole[begin + 8 : begin + 8 + size]
        begin += 12 + size
    pieces = b"".join(chunk(b"IDAT", packed[at : at + length]) for at in range(0, len(packed), length))
    data = whole[:33] + pieces + chunk(b"tEXt", b"c\0" + bytes(tail)) + chunk(b"eXIf", exif_block(6)) + whole[-12:]
    (tmp_path / "image.png").write_bytes(data)
    reads = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: reads.append(arguments) or pread(*arguments))
    with open(tmp_path / "image.png", "rb") as file:
        assert read_file_header(file.fileno(), len(data)).orientation == 6
    assert len(reads) < 40
    assert sum(size for _, size, _ in reads) < 5000


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["<", ">"]),
    st.lists(
        st.tuples(
            st.sampled_from([0x0100, 0x010F, 0x0112, 0x0112, 0x8769]),
            st.integers(0, 17),
            st.sampled_from([0, 1, 2, 5, 1000, 2**31, 2**32 - 1]),
            st.sampled_from([0, 1, 6, 8, 26, 50, 60_000, 2**32 - 1]),
        ),
        max_size=5,
    ),
    st.binary(max_size=30),
    st.integers(0, 120),
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, when it is asked itself
def test_any_directory_is_read_as_pillow_reads_it(
    order: str, tags: list[tuple[int, int, int, int]], tail: bytes, kept: int
) -> None:
    block = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(tags))
    block += b"".join(struct.pack(order + "HHII", *tag) for tag in tags) + b"\0" * 4 + tail
    data = encode(PICTURE, "WEBP", exif=block[: max(kept, 8)])
    with Image.open(io.BytesIO(data)) as image:
        found = image.getexif().get(0x0112, 1)
    assert read_whole_header(data).orientation == (found if found in range(1, 9) else 1)


def test_any_number_of_prefixes_is_passed_over() -> None:
    for number in (1, 3, 10_000):
        assert read_whole_header(jpeg((EXIF, PREFIX * number + exif_block(6)))).orientation == 6


def test_a_tiff_is_described_as_it_is_stored() -> None:
    data = tiff(with_tags(grey_tags(40, 24, 8), (274, 3, 1, struct.pack("<H", 6))), bytes(960))
    header = read_whole_header(data)
    assert (header.width, header.height, header.orientation) == (40, 24, 6)
