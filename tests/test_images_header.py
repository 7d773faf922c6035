from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import exif_block
from PIL import Image

from shardforge.errors import ImageError
from shardforge.images.containers.base import FirstBytes, MoreNeededError
from shardforge.images.header import Header, read_file_header, read_header, read_whole_header

SIZE = (40, 24)
SAVED_FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "tiff", "ppm", "jpeg2000", "avif")


def encode(format: str, size: tuple[int, int] = SIZE, mode: str = "RGB", **options: object) -> bytes:
    output = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(output, format.upper(), **options)
    return output.getvalue()


def jpeg_with_segments(*segments: tuple[int, bytes]) -> bytes:
    jpeg = encode("jpeg")
    inserted = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return jpeg[:2] + inserted + jpeg[2:]


def reason_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        read_whole_header(data)
    return caught.value.reason


def read_from_file(path: Path, data: bytes, before: bytes = b"", after: bytes = b"") -> Header:
    path.write_bytes(before + data + after)
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_file_header(fd, len(data), len(before))
    finally:
        os.close(fd)


@pytest.mark.parametrize("format", SAVED_FORMATS)
def test_every_format_is_read_from_bytes_from_a_file_and_from_inside_a_tar(format: str, tmp_path: Path) -> None:
    data = encode(format)
    expected = Header(*SIZE, format)
    assert read_header(data) == expected
    assert read_from_file(tmp_path / "image", data) == expected
    assert read_from_file(tmp_path / "tar", data, before=b"x" * 1537, after=encode("png", (3, 3))) == expected


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"exif": exif_block(6)}])
def test_each_kind_of_webp_is_read(options: dict[str, object]) -> None:
    assert read_header(encode("webp", (1234, 567), **options)) == Header(
        1234, 567, "webp", 6 if "exif" in options else 1
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("field_type", [3, 4])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_in_both_byte_orders(orientation: int, field_type: int, order: str) -> None:
    block = exif_block(orientation, order, field_type)
    assert read_header(jpeg_with_segments((0xE1, b"Exif\0\0" + block))) == Header(*SIZE, "jpeg", orientation)


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif"])
def test_orientation_written_by_pillow_is_read(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    assert read_whole_header(encode(format, exif=exif)).orientation == 8


@pytest.mark.parametrize(
    "block", [b"", b"II*\0", b"XX*\0" + b"\0" * 40, exif_block(0), exif_block(9), exif_block(6)[:20]]
)
def test_a_damaged_or_impossible_orientation_is_upright(block: bytes) -> None:
    assert read_whole_header(jpeg_with_segments((0xE1, b"Exif\0\0" + block))).orientation == 1


def test_a_size_behind_large_segments_is_found(tmp_path: Path) -> None:
    profile = [(0xE2, b"ICC_PROFILE\0" + bytes(65_000))] * 3
    data = jpeg_with_segments(*profile, (0xE1, b"Exif\0\0" + exif_block(5)))
    assert read_header(data[:4096]) is None
    assert read_from_file(tmp_path / "image.jpg", data) == Header(*SIZE, "jpeg", 5)


def test_stray_and_fill_bytes_between_segments_are_skipped() -> None:
    jpeg = encode("jpeg")
    assert read_header(jpeg[:2] + b"\xff" + jpeg[2:]) == Header(*SIZE, "jpeg")
    after_jfif = 4 + int.from_bytes(jpeg[4:6], "big")
    assert read_header(jpeg[:after_jfif] + b"stray\xff\x00" + jpeg[after_jfif:]) == Header(*SIZE, "jpeg")


def test_mpo_is_a_jpeg() -> None:
    output = io.BytesIO()
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "blue")]
    frames[0].save(output, "MPO", save_all=True, append_images=frames[1:])
    assert read_header(output.getvalue()) == Header(*SIZE, "jpeg")


@pytest.mark.parametrize(
    "data", [b"plain text, no image", b"\0" * 100, b"RIFF\0\0\0\0WAVEfmt ", b"\xff\xd8", b"P7 x", b"G"]
)
def test_unknown_bytes_are_no_image(data: bytes, tmp_path: Path) -> None:
    assert reason_of(data) == "not_an_image"
    with pytest.raises(ImageError, match="known image format"):
        read_from_file(tmp_path / "text", data)


def test_an_empty_file_is_named_so(tmp_path: Path) -> None:
    assert reason_of(b"") == "empty_file"
    with pytest.raises(ImageError, match="zero bytes"):
        read_from_file(tmp_path / "empty", b"")


@pytest.mark.parametrize(("path", "words"), [("/proc/self/mem", "Input/output error"), ("/", "Is a directory")])
def test_what_the_system_cannot_read_is_unreadable(path: str, words: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(ImageError, match=f"cannot read the file: {words}") as caught:
            read_file_header(fd, 10_000)
    finally:
        os.close(fd)
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
def test_a_header_that_ends_early_is_truncated(format: str, tmp_path: Path) -> None:
    start = encode(format)[:26]
    assert read_header(start) is None
    assert reason_of(start) == "truncated"
    with pytest.raises(ImageError, match="ends inside its header"):
        read_from_file(tmp_path / "start", start)


def test_a_file_shorter_than_promised_is_truncated(tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(encode("jpeg")[:100])
    with open(tmp_path / "image.jpg", "rb") as file, pytest.raises(ImageError) as caught:
        read_file_header(file.fileno(), 10_000)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xd8\xff\xda\x00\x0c", "corrupt"),  # image data without a frame header
        (b"\xff\xd8\xff\xd9\x00\x02", "corrupt"),  # nothing in it
        (b"\xff\xd8\xff\xe0\x00\x01", "corrupt"),  # a segment shorter than its own length field
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x00\x00\x10", "corrupt"),  # no rows
        (b"\xff\xd8\xff\xc1\x00\x11\x0c\x00\x10\x00\x10", "unsupported"),  # 12 bits
        (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dXXXX" + bytes(30), "corrupt"),
        (b"RIFF\x20\0\0\0WEBPJUNK" + bytes(30), "corrupt"),
        (b"GIF89a\x10\x00", "corrupt"),
        (b"BM" + bytes(100), "corrupt"),
    ],
)
def test_damaged_headers_have_a_reason(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


@pytest.mark.parametrize(
    ("format", "offset", "layout"),
    [("png", 16, ">II"), ("gif", 6, "<HH"), ("bmp", 18, "<ii")],
)
def test_large_declared_sizes_are_only_numbers(format: str, offset: int, layout: str) -> None:
    data = bytearray(encode(format, mode="L"))
    struct.pack_into(layout, data, offset, 60_000, 65_000)
    assert read_header(bytes(data)) == Header(60_000, 65_000, format)


@pytest.mark.parametrize(
    ("format", "offset", "layout"),
    [("png", 16, ">I"), ("png", 20, ">I"), ("bmp", 18, "<I"), ("tiff", 18, "<I"), ("jpeg2000", 52, ">I")],
)
def test_a_side_that_no_row_can_hold_has_a_reason(format: str, offset: int, layout: str, tmp_path: Path) -> None:
    data = bytearray(encode(format, mode="L"))
    assert struct.unpack_from(layout, data, offset)[0] in SIZE
    struct.pack_into(layout, data, offset, 2**31 + 1)
    assert reason_of(bytes(data)) == "too_many_pixels"
    with pytest.raises(ImageError, match="more than an image can have"):
        read_from_file(tmp_path / "image", bytes(data))


def test_a_file_of_more_than_two_gibibytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "image.jpg", "w+b") as file:
        file.write(encode("jpeg"))
        file.truncate(2**31 + 1)
        with pytest.raises(ImageError) as caught:
            read_file_header(file.fileno(), 2**31 + 1)
        assert caught.value.reason == "too_costly"
        assert read_file_header(file.fileno(), 2**31) == Header(*SIZE, "jpeg")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SAVED_FORMATS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.integers(1, 2000),
)
def test_no_bytes_raise_anything_but_image_error(format: str, changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(encode(format))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        header = read_header(bytes(data[:length]))
    except ImageError:
        return
    assert header is None or (header.width > 0 and header.height > 0)


def test_the_last_of_the_first_bytes_is_one_of_them() -> None:
    first = FirstBytes(b"abc")
    assert (first.read(0, 3), first.read(1, 2), first.read(2, 1)) == (b"abc", b"bc", b"c")
    for offset, length in ((0, 4), (1, 3), (3, 1)):
        with pytest.raises(MoreNeededError):
            first.read(offset, length)
    data = encode("bmp")
    assert read_header(data[:54]) == Header(*SIZE, "bmp")
    assert read_header(data[:53]) is None


@pytest.mark.parametrize(("more", "orientation"), [(-1, 1), (0, 6), (1000, 6)])
def test_a_webp_ends_where_it_says(more: int, orientation: int) -> None:
    block = exif_block(6)
    data = encode("webp", exif=block)
    assert data.endswith(block)  # a chunk counts whose kind and length lie before the end
    end = struct.pack("<I", len(data) - len(block) - 8 + more)
    for behind in (b"", bytes(100)):
        assert read_whole_header(data[:4] + end + data[8:] + behind).orientation == orientation


def test_comments_before_the_size_of_a_pnm_have_bounds() -> None:
    whole = b"P5\n#" + b"x" * (2**16 - 4 - 11) + b"\n40 24 255\n"
    assert len(whole) == 2**16
    assert read_header(whole + bytes(960)) == Header(*SIZE, "ppm")
    assert reason_of(whole.replace(b"x", b"xx", 1) + bytes(960)) == "too_costly"
