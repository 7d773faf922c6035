"""Pixels decide: whatever is wrong beside them costs nothing but a note."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from image_files import (
    PICTURE,
    box,
    chunk,
    decode,
    encode,
    exif_block,
    grey_tags,
    jpeg,
    png,
    tiff,
    with_tags,
    xmp_packet,
)

from shardforge.errors import ImageError
from shardforge.images.containers.jpeg import strip_jpeg
from shardforge.images.containers.tiff import strip_tiff
from shardforge.images.convert import CODECS, Conversion, check_image, convert_image

MEGABYTE = 1 << 20


def wrong_checksum(kind: bytes, content: bytes) -> bytes:
    whole = chunk(kind, content)
    return whole[:-1] + bytes((whole[-1] ^ 1,))


def mp_index(entries: bytes, count: int = 1) -> tuple[int, bytes]:
    """Return the segment by which a JPEG says that others follow (CIPA DC-007)."""
    directory = struct.pack("<HHHIIHHII", 2, 0xB001, 4, 1, 2, 0xB002, 7, len(entries) * count, 38)
    return 0xE2, b"MPF\0II*\0\x08\0\0\0" + directory + b"\0" * 4 + entries


def webp(**options: Any) -> bytes:
    return encode(PICTURE, "WEBP", lossless=True, **options)


def with_riff_size(data: bytes, size: int) -> bytes:
    return data[:4] + struct.pack("<I", size) + data[8:]


EXIF = exif_block(1)
PNG = {
    "a long compressed text": png(chunk(b"zTXt", b"c\0\0" + zlib.compress(b"a" * (3 * MEGABYTE)))),
    "a long compressed orientation": png(
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"a" * (3 * MEGABYTE)))
    ),
    "a long profile": png(chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(5 * MEGABYTE)))),
    "a profile packed in another way": png(chunk(b"iCCP", b"p\0\1" + zlib.compress(bytes(500)))),
    "texts of 72 MB": png(chunk(b"iTXt", b"c\0\0\0\0\0" + b"a" * 900_000) * 80),
    "a text in no known packing": png(chunk(b"zTXt", b"c\0\7abc")),
    "a text with a wrong checksum": png(wrong_checksum(b"tEXt", b"c\0hello")),
    "a wrong checksum behind the data": png(after=[wrong_checksum(b"tEXt", b"c\0hello")]),
    "an orientation with a wrong checksum": png(wrong_checksum(b"eXIf", EXIF)),
    "a text that is cut": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1")),
    "short chunks": png(
        *(chunk(kind, b"") for kind in (b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME", b"sBIT", b"hIST"))
    ),
    "a short transparent colour": png(chunk(b"tRNS", b"\0")),
    "a broken animation": png(chunk(b"acTL", b"\0")),
    "frames in no order": png(chunk(b"acTL", bytes((0, 0, 0, 2) * 2)), chunk(b"fcTL", bytes(26)) * 2),
    "a chunk of no length behind the data": png(after=[b"\xff\xff\xff\xfftEXtabc"]),
    "no EXIF in its chunk": png(chunk(b"eXIf", b"garbage")),
    "bytes behind the end": png() + b"more" * 1000,
    "chunks behind the end": png() + chunk(b"IDAT", b"x") + chunk(b"zTXt", b"y"),
    "a wrong checksum at the end": png()[:-1] + b"\0",
    "a palette that is none": png(chunk(b"PLTE", b"\1\2")),
    "a private chunk": png(chunk(b"prVt", b"x" * 100_000)),
}
JPEG = {
    "a cut density": jpeg((0xE0, b"JFIF\0"), (0xE0, b"JFXX")),
    "a broken Photoshop block": jpeg((0xED, b"Photoshop 3.0\x008BIM\4\4")),
    "no EXIF in its segment": jpeg((0xE1, b"Exif\0\0garbage")),
    "EXIF that goes on elsewhere": jpeg((0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "EXIF with values of 2^32": jpeg(
        (0xE1, b"Exif\0\0" + EXIF.replace(b"\x03\0\x01\0\0\0", b"\x0c\0\xff\xff\xff\xff"))
    ),
    "XMP that is none": jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"\xff" * 5000)),
    "an empty index of pictures": jpeg((0xE2, b"MPF\0")),
    "a broken index of pictures": jpeg((0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff")),
    "an index of pictures of another kind": jpeg(mp_index(struct.pack("<LLLHH", 7 << 24, 1, 1, 0, 0))),
    "an index of pictures that are not there": jpeg(mp_index(struct.pack("<LLLHH", 0, 10**9, 10**9, 0, 0) * 2)),
    "a cut Adobe segment": jpeg((0xEE, b"Adobe\0\x64")),
    "a comment of 64 KB": jpeg((0xFE, b"x" * 65_533)),
    "empty segments": jpeg(*((0xE0 + number, b"") for number in range(16))),
    "a picture behind the end": jpeg() + jpeg(),
}
WEBP = {
    "no EXIF in its chunk": webp(exif=b"garbage"),
    "EXIF that is cut": webp(exif=b"x" * 5000)[:-3000],
    "XMP that is cut": webp(xmp=xmp_packet(1) * 50)[:-3000],
    "no profile in its chunk": webp(icc_profile=b"garbage" * 9),
    "a size that is too large": with_riff_size(webp(), 10**9),
    "a chunk of 2^32 bytes behind the image": (lambda data: data + b"JUNK\xff\xff\xff\xffabc")(webp(exif=EXIF)),
    "bytes behind the end": webp() + b"more" * 1000,
}
GREY = np.asarray(PICTURE.convert("L"))
TIFF_CONTENT = GREY.tobytes()


def odd_tiff(*tags: Any) -> bytes:
    return tiff(with_tags(grey_tags(40, 24, 8), *tags), TIFF_CONTENT)


TIFF = {
    "private tags of all types": odd_tiff(*((65_000 + kind, kind, 1, b"\1\2\3\4") for kind in range(20))),
    "values beyond the end": odd_tiff((305, 2, 1000, struct.pack("<I", 10**9)), (700, 1, 2**32 - 1, b"\0\0\0\0")),
    "a resolution of 1 / 0": odd_tiff((282, 5, 1, struct.pack("<II", 1, 0)), (283, 5, 1, struct.pack("<II", 0, 0))),
    "EXIF that is its own directory": odd_tiff((34665, 4, 1, struct.pack("<I", 8)), (330, 4, 1, struct.pack("<I", 8))),
    "a density of words": odd_tiff((282, 2, 4, b"abc\0"), (296, 2, 4, b"abc\0")),
    "a profile beyond the end": odd_tiff((34675, 7, 10**6, struct.pack("<I", 10**6))),
    "a next directory in a loop": odd_tiff()[: 10 + 12 * 9] + struct.pack("<I", 8) + odd_tiff()[14 + 12 * 9 :],
    "IPTC of another type": odd_tiff((33723, 4, 1, b"\1\2\3\4"), (34377, 7, 1, b"8")),
}
GIF_HEAD = encode(PICTURE.quantize(64), "GIF")
GIF_AT = 13 + (3 << (GIF_HEAD[10] & 7) + 1)


def gif(extension: bytes, behind: bytes = b"") -> bytes:
    return GIF_HEAD[:GIF_AT] + extension + GIF_HEAD[GIF_AT:] + behind


GIF = {
    "a long comment": gif(b"!\xfe" + b"\xff" + b"x" * 255 + (b"\xff" + b"y" * 255) * 3000 + b"\0"),
    "a short loop": gif(b"!\xff\x0bNETSCAPE2.0\1\1\0"),
    "a short control block": gif(b"!\xf9\1\0\0"),
    "an extension of no known kind": gif(b"!\x77\3abc\0"),
    "stray bytes": gif(b"\0\0\0"),
    "bytes behind the end": gif(b"", b"more" * 1000),
    "no end": GIF_HEAD[:-1],
}
AVIF = {
    "no EXIF in its item": encode(PICTURE, "AVIF", exif=EXIF).replace(b"II*\0", b"none"),
    "bytes behind the end": encode(PICTURE, "AVIF") + b"more" * 1000,
}
JPEG2000 = encode(PICTURE, "JPEG2000")
OTHERS = {
    "JPEG 2000 with a box behind the end": JPEG2000 + box(b"uuid", b"x" * 100),
    "BMP with bytes behind the end": encode(PICTURE, "BMP") + b"more" * 1000,
    "PPM with a comment": encode(PICTURE, "PPM").replace(b"P6\n", b"P6\n# said\n", 1),
}
CASES = [
    pytest.param(data, clean, id=f"{format}, {name}")
    for format, files, clean in (
        ("PNG", PNG, png()),
        ("JPEG", JPEG, jpeg()),
        ("WebP", WEBP, webp()),
        ("TIFF", TIFF, odd_tiff()),
        ("GIF", GIF, GIF_HEAD),
        ("AVIF", AVIF, encode(PICTURE, "AVIF")),
    )
    for name, data in files.items()
] + [
    pytest.param(data, encode(PICTURE, name.split(" with")[0].replace(" ", "")), id=name)
    for name, data in OTHERS.items()
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("data", "clean"), CASES)
def test_pixels_are_those_of_the_file_without_its_faults(
    data: bytes, clean: bytes, codec: str, capfd: pytest.CaptureFixture[str]
) -> None:
    conversion = Conversion(format="png", codec=codec)
    result = convert_image(data, conversion)
    assert (decode(result.data) == decode(convert_image(clean, conversion).data)).all()
    assert check_image(data, codec) == (40, 24)
    assert len(result.notes) <= 5
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PNG["a long compressed orientation"], "damaged or too long"),
        (PNG["a long profile"], "profile"),
        (PNG["no EXIF in its chunk"], "EXIF"),
        (PNG["a short transparent colour"], "transparency"),
        (PNG["a chunk of no length behind the data"], "behind the image data"),
        (JPEG["no EXIF in its segment"], "EXIF"),
        (WEBP["EXIF that is cut"], "EXIF"),
        (TIFF["a profile beyond the end"], "profile"),
        (AVIF["no EXIF in its item"], "EXIF"),
        (png(), None),
        (jpeg((0xE1, b"Exif\0\0" + EXIF)), None),
        (webp(exif=EXIF), None),
    ],
)
def test_what_is_left_out_is_a_note(data: bytes, said: str | None) -> None:
    notes = convert_image(data, Conversion()).notes
    assert notes == () if said is None else said in notes[0]


@pytest.mark.parametrize(
    ("marker", "content", "kept"),
    [
        (0xE0, b"JFIF\0".ljust(14, b"\1"), True),
        (0xE0, b"JFIF\0".ljust(20, b"\1"), True),
        (0xE0, b"JFIF\0".ljust(13, b"\1"), False),
        (0xE0, b"JFXX\0".ljust(14, b"\1"), False),
        (0xEE, b"Adobe".ljust(12, b"\1"), True),
        (0xEE, b"Adobe".ljust(11, b"\1"), False),
        (0xEE, b"Abode".ljust(12, b"\1"), False),
        *((marker, b"Adobe".ljust(20, b"\1"), False) for marker in (0xE1, 0xE2, 0xED, 0xEF, 0xFE)),
        *((marker, bytes(20), True) for marker in (0xDD, 0xDB, 0xF0, 0xFD)),
    ],
)
def test_what_is_kept_of_a_jpeg_is_what_decoders_take(marker: int, content: bytes, kept: bool) -> None:
    assert (content in strip_jpeg(jpeg((marker, content)))) == kept


def reason_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        convert_image(data, Conversion())
    return caught.value.reason


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (flipped(png(), 29), "corrupt"),  # the checksum of IHDR
        (flipped(png(compress_level=0), png(compress_level=0).index(b"IDAT") + 200), "corrupt"),  # a stored pixel
        (flipped(png(), png().rindex(b"IEND") - 5), "corrupt"),  # the checksum of the data
        (png(chunk(b"ABCD", b"x")), "unsupported"),  # a chunk without which the picture is not to be shown
        (png(b"\0\0\0\0\0\0\0\0\0\0\0\0"), "corrupt"),
        (png()[:-12], "truncated"),
        (png()[:-30], "truncated"),
        (png().replace(b"IDAT", b"iDAT"), "corrupt"),
        (webp(exif=EXIF)[:60], "truncated"),
        (GIF_HEAD[:-20], "truncated"),
    ],
)
def test_what_is_wrong_with_pixels_is_not_forgiven(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


#: TIFF 6.0 and its supplements: what a decoder needs to make pixels of the data; 266 says how bits lie in a byte.
PIXEL_TAGS = [
    *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338, 339),
    *(347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
]


def test_a_tiff_keeps_the_tags_that_make_pixels_and_no_others() -> None:
    others = ((tag, 3, 1, struct.pack("<H", 1)) for tag in range(250, 1000))
    stripped = strip_tiff(tiff(with_tags([*others, *grey_tags(1, 1, 8)]), b"x")).data
    (directory,) = struct.unpack_from("<I", stripped, 4)
    (count,) = struct.unpack_from("<H", stripped, directory)
    assert [struct.unpack_from("<H", stripped, directory + 2 + 12 * n)[0] for n in range(count)] == PIXEL_TAGS
