"""Files that would cost more than they may: what becomes of each, with little memory to be had."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from image_files import PICTURE, box, chunk, empty_png, encode, grey_tags, png, tiff, with_tags

from shardforge.errors import ImageError
from shardforge.images.containers.png import strip_png
from shardforge.images.containers.tiff import strip_tiff
from shardforge.images.header import Header, read_header

#: Reads each file, then writes what its header and its pixels came to. Only 300 MiB more may be taken than are taken.
JUDGE = """
import json, resource, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
from shardforge.errors import ImageError
from shardforge.images.containers.png import strip_png
from shardforge.images.convert import Conversion, check_image, convert_image
from shardforge.images.header import read_file_header

def reason(call, *arguments):
    try:
        call(*arguments)
    except ImageError as error:
        return error.reason
    return "ok"

def of_file(path):
    with open(path, "rb") as file:
        read_file_header(file.fileno(), path.stat().st_size)

first = Path(sys.argv[1])
convert_image((first / "0 plain").read_bytes(), Conversion((16, 16), format="webp"))
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (300 << 20),) * 2)
found = {}
for path in sorted(first.iterdir()):
    found[path.name] = [reason(of_file, path)]
    data = path.read_bytes()
    for codec in ("fast", "pillow"):
        found[path.name].append(reason(convert_image, data, Conversion((16, 16), codec=codec)))
        found[path.name].append(reason(check_image, data, codec))
    del data
print(json.dumps(found))
"""


def gif(width: int, height: int, before: bytes = b"", screen: tuple[int, int] = (1, 1)) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", *screen, 0, 0, 0)
        + before
        + b","
        + struct.pack("<HHHHB", 0, 0, width, height, 0)
        + b"\2\2\x4c\1\0;"
    )


def many_scans(scans: int) -> bytes:
    """Return a progressive JPEG of 6.25 megapixels whose last scan follows again and again, empty."""
    data = encode(PICTURE.resize((2500, 2500)), "JPEG", progressive=True, quality=30)
    last = data.rindex(b"\xff\xda")
    scan = data[last : last + 2 + int.from_bytes(data[last + 2 : last + 4], "big")]
    return data[:-2] + scan * scans + data[-2:]


@cache
def bomb() -> bytes:
    """Return what unpacks to 400 MB."""
    packer = zlib.compressobj(1)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(400)), packer.flush()])


def jpeg2000(
    exponents: bytes = b"\4\4",
    tile: int = 12_000,
    *,
    size: tuple[int, int] = (12_000, 12_000),
    components: int = 1,
    levels: int = 5,
    precincts: bytes = b"",
    others: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """Return a codestream that has no data, with other segments (marker, content) in its header."""
    sizes = struct.pack(">HIIIIIIIIH", 0, *size, 0, 0, tile, tile, 0, 0, components) + b"\7\1\1" * components
    coding = bytes([bool(precincts), 0, 0, 1, 0, levels]) + exponents + b"\0\1" + precincts
    quantisation = b"\x40" + b"\x40" * 16
    segments = ((0x51, sizes), (0x52, coding), (0x5C, quantisation), *others)
    stream = b"\xff\x4f" + b"".join(struct.pack(">BBH", 0xFF, kind, 2 + len(body)) + body for kind, body in segments)
    return stream + b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 0, 0, 1) + b"\xff\x93\xff\xd9"


def run_length(side: int) -> bytes:
    head = struct.pack("<IiiHHIIIIII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<III", 0, 0, 14 + 40 + 1024) + head + bytes(1024) + b"\0\0" * 100 + b"\0\1"


HUGE = 2**31 + 1
LONG = struct.pack("<I", 2**32 - 1)
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
#: The file, what its header comes to, and what its pixels come to.
CASES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "0 plain": (lambda: encode(PICTURE, "JPEG"), "ok", "ok"),
    # Sizes that no row can hold, and such as only a header may say.
    "PNG, a side of 2^31": (lambda: empty_png(HUGE, 1), "too_many_pixels", "too_many_pixels"),
    "PNG, 2^31 x 2^31": (lambda: empty_png(2**31 - 1, 2**31 - 1), "too_many_pixels", "too_many_pixels"),
    "PNG, 2^31 in a row": (lambda: empty_png(2**31 - 1, 1), "ok", "too_many_pixels"),
    "PNG, 60000 x 60000": (lambda: empty_png(60_000, 60_000), "ok", "too_many_pixels"),
    "BMP": (
        lambda: b"BM" + bytes(12) + struct.pack("<IIiHH", 40, 2**31, 5, 1, 24) + bytes(64),
        "too_many_pixels",
        "too_many_pixels",
    ),
    "TIFF": (lambda: tiff(grey_tags(2**32 - 1, 5, 8)), "too_many_pixels", "too_many_pixels"),
    "BigTIFF": (
        lambda: tiff(with_tags(grey_tags(5, 5, 8), (256, 16, 1, struct.pack("<Q", 2**40))), big=True),
        "too_many_pixels",
        "too_many_pixels",
    ),
    "GIF of 40 bytes": (lambda: gif(65_535, 65_535), "ok", "too_many_pixels"),
    "GIF whose first frame is cleared": (
        lambda: gif(65_535, 65_535, b"!\xf9\4\x09\0\0\0\0"),
        "ok",
        "too_many_pixels",
    ),
    "GIF whose screen is large": (lambda: gif(1, 1, screen=(65_535, 65_535)), "ok", "too_many_pixels"),
    "JPEG 2000": (
        lambda: JP2 + box(b"jp2h", box(b"ihdr", struct.pack(">IIHBBBB", HUGE, 5, 3, 7, 7, 0, 0))) + box(b"jp2c", b"x"),
        "corrupt",
        "corrupt",
    ),
    "JPEG 2000 codestream": (
        lambda: jpeg2000().replace(struct.pack(">I", 12_000), LONG, 1),
        "too_many_pixels",
        "too_many_pixels",
    ),
    "PPM": (lambda: b"P6 4294967295 9 255\n", "too_many_pixels", "too_many_pixels"),
    "WebP": (
        lambda: b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6 + b"VP8L\0\0\0\0",
        "too_many_pixels",
        "too_many_pixels",
    ),
    # Sizes that may be, of files that cannot hold so much.
    "PNG of 100 bytes": (lambda: empty_png(14_000, 14_000, zlib.compress(b"")), "ok", "truncated"),
    "BMP of 54 bytes": (
        lambda: b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 14_000, 14_000, 1, 24, 0) + bytes(20),
        "ok",
        "truncated",
    ),
    "TIFF of 100 bytes": (lambda: tiff(grey_tags(14_000, 14_000, 8)), "ok", "truncated"),
    "PGM of 20 bytes": (lambda: b"P5 14000 14000 65535\n", "ok", "truncated"),
    # Lengths and numbers that are not there.
    "PNG, a text of 2^31 bytes": (
        lambda: empty_png(8, 8)[:33] + struct.pack(">I", 2**31) + b"tEXt" + bytes(50),
        "truncated",
        "truncated",
    ),
    "TIFF, 2^32 values of each tag": (
        lambda: tiff([(tag, 4, 2**32 - 1, b"\0\0\0\0") for tag in range(250, 400)]),
        "corrupt",
        "corrupt",
    ),
    "TIFF, 2^64 tags": (
        lambda: b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2**64 - 1) + bytes(100),
        "too_costly",
        "too_costly",
    ),
    "TIFF, 2^32 strips": (
        lambda: tiff(with_tags(grey_tags(5, 2**20 + 1, 8), (278, 4, 1, struct.pack("<I", 1)))),
        "ok",
        "too_costly",
    ),
    "TIFF, tiles of 2^32 pixels for one": (
        lambda: tiff(
            [
                *(tag for tag in grey_tags(1, 1, 8) if tag[0] not in (273, 278, 279)),
                *((tag, 4, 1, struct.pack("<I", 2**16)) for tag in (322, 323)),
                *((tag, 4, 1, struct.pack("<I", 8)) for tag in (324, 325)),
            ]
        ),
        "ok",
        "too_costly",
    ),
    "JPEG 2000, a box of 2^63 bytes": (
        lambda: JP2 + struct.pack(">I4sQ", 1, b"jp2h", 2**63) + bytes(60),
        "truncated",
        "truncated",
    ),
    "JPEG 2000, 12 million code blocks": (lambda: jpeg2000(b"\0\0"), "too_costly", "too_costly"),
    "JPEG 2000, tiles of one pixel": (lambda: jpeg2000(tile=1), "too_costly", "too_costly"),
    # Long ways to the size.
    "JPEG, 70,000 empty segments": (
        lambda: b"\xff\xd8" + b"\xff\xe5\0\2" * 70_000 + encode(PICTURE, "JPEG")[2:],
        "too_costly",
        "too_costly",
    ),
    "JPEG, 70 MB of fill bytes": (
        lambda: b"\xff\xd8" + b"\xff" * 70_000_000 + encode(PICTURE, "JPEG")[2:],
        "too_costly",
        "too_costly",
    ),
    "PNG, 70,000 empty texts": (
        lambda: png(chunk(b"tEXt", b"") * 70_000),
        "too_costly",
        "too_costly",
    ),
    "GIF, a comment of 300,000 blocks": (
        lambda: gif(2, 2, b"!\xfe" + b"\1x" * 300_000 + b"\0"),
        "too_costly",
        "too_costly",
    ),
    "PPM, a comment of 70 MB": (
        lambda: b"P6 #" + b"x" * 70_000_000 + b"\n2 2 255\n" + bytes(12),
        "too_costly",
        "too_costly",
    ),
    # Data that unpacks to much, or again and again.
    "JPEG, 650 scans": (lambda: many_scans(640), "ok", "too_costly"),
    "JPEG, 14 scans": (lambda: many_scans(4), "ok", "ok"),
    "PNG, bombs beside the pixels": (
        lambda: png(
            *(
                chunk(kind, keyword + bomb())
                for kind, keyword in (
                    (b"zTXt", b"Raw profile type exif\0\0"),
                    (b"iCCP", b"profile\0\0"),
                    (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0"),
                )
            )
        ),
        "ok",
        "ok",
    ),
    "PPM of words": (lambda: b"P3 8000 8000 255 " + b"0 " * 10, "ok", "too_costly"),
    "BMP of runs": (lambda: run_length(8000), "ok", "too_costly"),
    # Sizes that may be, and are there, and do not fit into the memory that is left.
    "PNG of 190 megapixels": (
        lambda: encode(PICTURE.resize((1, 1)).resize((14_000, 13_500)), "PNG", compress_level=1),
        "ok",
        "out_of_memory",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound the memory of a process so")
def test_hostile_files_end_early_and_in_bounded_memory(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name, (make, _, _) in CASES.items():
        (files / name.replace("/", "-")).write_bytes(make())
    judge = subprocess.run([sys.executable, "-c", JUDGE, files], capture_output=True, text=True, timeout=250)
    assert judge.returncode == 0, judge.stderr
    assert judge.stderr == ""
    found = json.loads(judge.stdout)
    assert found == {name: [header, *[pixels] * 4] for name, (_, header, pixels) in CASES.items()}


#: Width, height and coding of pictures that have as many precincts and code blocks as may be: with one more row of
#: pixels there are too many.
MOST_BLOCKS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "of 4 x 4": (11_583, 11_583, {}),
    "in a wide picture": (262_143, 507, {}),
    "in a high picture": (508, 262_139, {}),
    "of 1024 x 4": (2_047, 16_776_191, {"exponents": b"\x08\0"}),
    "of 4 x 1024": (8_191, 4_193_279, {"exponents": b"\0\x08"}),
    "in three components": (6_687, 6_687, {"components": 3}),
    "in two sizes": (10_359, 10_359, {"levels": 1}),
    "in six sizes": (1_000, 100_159, {"levels": 5}),
    "in tiles": (6_400, 289 * 64, {"tile": 64}),
    "in precincts of 4 x 4": (8_191, 8_191, {"exponents": b"\4\4", "precincts": b"\x22"}),
    "in precincts of 32768 x 1": (100, 2_796_201, {"exponents": b"\4\4", "precincts": b"\x0f"}),
    "in precincts of 1 x 32768": (100, 5_305_151, {"exponents": b"\4\4", "precincts": b"\xf0"}),
    "in precincts of the smaller size": (16_383, 16_255, {"exponents": b"\4\4", "levels": 1, "precincts": b"\x22"}),
    "in precincts of the larger size": (16_383, 4_091, {"exponents": b"\4\4", "levels": 1, "precincts": b"\xff\x22"}),
    "of one component": (11_583, 11_583, {"exponents": b"\4\4", "others": [(0x53, b"\0\0\0\0\0\0\1")]}),
}


@pytest.mark.parametrize("name", MOST_BLOCKS)
def test_code_blocks_of_jpeg_2000_are_counted(name: str) -> None:
    width, height, coding = MOST_BLOCKS[name]
    coding = {"exponents": b"\0\0", "levels": 0, "tile": 2**24} | coding
    assert read_header(jpeg2000(size=(width, height), **coding)) == Header(width, height, "jpeg2000")
    with pytest.raises(ImageError, match="code blocks") as caught:
        read_header(jpeg2000(size=(width, height + 1), **coding))
    assert caught.value.reason == "too_costly"


@pytest.mark.parametrize(
    ("segment", "damaged"),
    [
        (b"\xff\x64\0\2", False),
        (b"\xff\0\0\2", False),
        (b"\xfe\xff\0\2", True),
        (b"\0\0\0\2", True),
        (b"\xff\x64\0\1", True),
        (b"\xff\x64\0\0", True),
    ],
)
def test_segments_of_jpeg_2000_have_a_marker_and_a_length(segment: bytes, damaged: bool) -> None:
    data = jpeg2000(others=[(0, b"")]).replace(b"\xff\0\0\2", segment)
    if not damaged:
        assert read_header(data) == Header(12_000, 12_000, "jpeg2000")
        return
    with pytest.raises(ImageError, match="header is damaged") as caught:
        read_header(data)
    assert caught.value.reason == "corrupt"


@pytest.mark.parametrize(
    ("colours", "bits", "data", "most"),
    [
        (2, 8, 36, 34_400),  # 3 bytes a pixel; a compressed byte is 1,032 at best
        (2, 8, 0, 22_016),
        (2, 8, 200, 90_816),
        (2, 16, 36, 17_200),
        (0, 8, 36, 103_200),
        (0, 1, 36, 825_607),
        (3, 8, 36, 103_200),
        (3, 4, 36, 206_401),
        (4, 8, 36, 51_600),
        (6, 16, 36, 12_900),
    ],
)
def test_a_png_has_enough_data_for_its_pixels(colours: int, bits: int, data: int, most: int) -> None:
    def png_of(width: int, height: int) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
        chunks = (chunk(b"IHDR", head), chunk(b"PLTE", bytes(3)), chunk(b"IDAT", bytes(data)), chunk(b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

    for size in ((most, 1), (1, most)):
        assert strip_png(png_of(*size)).bits == bits
    for size in ((most + 1, 1), (1, most + 1), (30_000, 30_000)):
        with pytest.raises(ImageError, match="the png ends too early") as caught:
            strip_png(png_of(*size))
        assert caught.value.reason == "truncated"


def rows_of(count: int, *tags: tuple[int, int, int, bytes]) -> bytes:
    """Return a TIFF of so many rows of a pixel, a strip each, with other tags."""
    strips = [(278, 4, 1, struct.pack("<I", 1)), *tags]
    return tiff(with_tags(grey_tags(1, count, 8), *strips), bytes(2 * count))


def tiles_of(width: int, height: int, side: int) -> bytes:
    tags = [tag for tag in grey_tags(width, height, 8) if tag[0] not in (273, 278, 279)]
    tags += [(tag, 4, 1, struct.pack("<I", side)) for tag in (322, 323)]
    tags += [(tag, 4, 1, struct.pack("<I", 8)) for tag in (324, 325)]
    return tiff(tags, bytes(width * height))


IN_PLANES = ((277, 3, 1, b"\2\0"), (284, 3, 1, b"\2\0"))  # two samples a pixel


@pytest.mark.parametrize(
    ("fitting", "costly"),
    [
        (rows_of(2**20), rows_of(2**20 + 1)),
        (rows_of(2**19, *IN_PLANES), rows_of(2**19 + 1, *IN_PLANES)),
        (tiles_of(1, 1, 2**13), tiles_of(1, 1, 2**13 + 1)),
        (tiles_of(2**15, 1, 2**11), tiles_of(2**15 + 1, 1, 2**11)),
        (tiles_of(1, 2**15, 2**11), tiles_of(1, 2**15 + 1, 2**11)),
        (tiles_of(1024, 1024, 1), tiles_of(1025, 1024, 1)),
    ],
    ids=["strips", "strips of planes", "a tile", "tiles in a row", "tiles in a column", "small tiles"],
)
def test_strips_and_tiles_of_a_tiff_are_counted(fitting: bytes, costly: bytes) -> None:
    assert strip_tiff(fitting).planes == ()
    with pytest.raises(ImageError) as caught:
        strip_tiff(costly)
    assert caught.value.reason == "too_costly"
