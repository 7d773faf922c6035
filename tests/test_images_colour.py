"""Colours: what embedded profiles become, beside what LittleCMS makes of them through Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from image_files import (
    ADOBE_RGB,
    CMYK,
    DISPLAY_P3,
    GREY_LINEAR,
    PICTURE,
    SRGB_CURVE,
    SRGB_PRIMARIES,
    box,
    chunk,
    decode,
    encode,
    gamma_curve,
    grey_profile,
    jpeg,
    matrix_profile,
    png,
    srgb_table,
)
from PIL import Image, ImageCms

from shardforge.duplicates.hashing import hash_image
from shardforge.images.convert import CODECS, Conversion, codec_versions, convert_image
from shardforge.images.header import read_whole_header
from shardforge.loader.pixels import decode_image, open_resizer, transform_images
from shardforge.loader.transforms import Squash

both_codecs = pytest.mark.parametrize("codec", CODECS)
Array = npt.NDArray[Any]
SRGB = ImageCms.createProfile("sRGB")
LONG_RGB = ADOBE_RGB + bytes(150_000)  # what lies behind a profile is not read


def to_srgb(image: Image.Image, profile: bytes) -> Array:
    """Return what relative colorimetric rendering makes of an image."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(opened, SRGB, image.mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, 0)
    return np.asarray(transform.apply(image)).astype(np.int16)


def convert(data: bytes, **options: Any) -> Array:
    return decode(convert_image(data, Conversion(format="png", **options)).data)


def gif(image: Image.Image, profile: bytes) -> bytes:
    data = encode(image.quantize(64), "GIF")
    at = 13 + (3 << (data[10] & 7) + 1)
    blocks = b"".join(
        bytes((len(part),)) + part for part in (profile[i : i + 255] for i in range(0, len(profile), 255))
    )
    return data[:at] + b"!\xff\x0bICCRGBG1012" + blocks + b"\0" + data[at:]


def jpeg2000(image: Image.Image, profile: bytes) -> bytes:
    data = encode(image, "JPEG2000")
    at = data.index(b"colr") - 4
    colr = box(b"colr", b"\2\0\0" + profile)
    header = data.index(b"jp2h") - 4
    grown = int.from_bytes(data[header : header + 4]) + len(colr) - int.from_bytes(data[at : at + 4])
    rest = data[at + int.from_bytes(data[at : at + 4]) :]
    return data[:header] + struct.pack(">I", grown) + data[header + 4 : at] + colr + rest


def bmp(image: Image.Image, profile: bytes) -> bytes:
    pixels = encode(image, "BMP")[54:]
    head = struct.pack("<IiiHHIIIIII", 124, *image.size, 1, 24, 0, len(pixels), 0, 0, 0, 0) + bytes(16) + b"DEBM"
    head = head.ljust(112, b"\0") + struct.pack("<III", 124 + len(pixels), len(profile), 0)
    return b"BM" + struct.pack("<III", 0, 0, 14 + len(head)) + head + pixels + profile


FILES = {
    "JPEG": lambda profile: encode(PICTURE, "JPEG", icc_profile=profile),
    "progressive JPEG": lambda profile: encode(PICTURE, "JPEG", icc_profile=profile, progressive=True),
    "PNG": lambda profile: encode(PICTURE, "PNG", icc_profile=profile),
    "PNG with a palette": lambda profile: encode(PICTURE.quantize(64), "PNG", icc_profile=profile),
    "WebP": lambda profile: encode(PICTURE, "WEBP", icc_profile=profile, lossless=True),
    "animated WebP": lambda profile: encode(
        PICTURE, "WEBP", icc_profile=profile, save_all=True, append_images=[PICTURE.rotate(180)]
    ),
    "TIFF": lambda profile: encode(PICTURE, "TIFF", icc_profile=profile),
    "compressed TIFF": lambda profile: encode(PICTURE, "TIFF", icc_profile=profile, compression="tiff_lzw"),
    "BigTIFF": lambda profile: encode(PICTURE, "TIFF", icc_profile=profile, big_tiff=True),
    "AVIF": lambda profile: encode(PICTURE, "AVIF", icc_profile=profile),
    "GIF": lambda profile: gif(PICTURE, profile),
    "JPEG 2000": lambda profile: jpeg2000(PICTURE, profile),
    "BMP": lambda profile: bmp(PICTURE, profile),
}


@pytest.mark.parametrize("profile", [ADOBE_RGB, DISPLAY_P3, LONG_RGB], ids=["Adobe", "P3", "long"])
@pytest.mark.parametrize("file", FILES)
def test_profiles_of_all_formats_go_to_srgb(file: str, profile: bytes) -> None:
    data = FILES[file](profile)
    with Image.open(io.BytesIO(data)) as image:
        stored = image.convert("RGB")
    expected = to_srgb(stored, profile)
    assert np.abs(expected - np.asarray(stored)).max() > 20
    assert (convert(data, codec="pillow") == expected).all()
    assert np.abs(convert(data, codec="fast") - expected).max() <= 3
    # Resized first, converted then.
    small = to_srgb(stored.resize((20, 12), Image.Resampling.BICUBIC), profile)
    assert (convert(data, size=(20, 12), codec="pillow") == small).all() or "JPEG" in file


@pytest.mark.parametrize(
    ("mode", "profile", "file"),
    [
        ("L", GREY_LINEAR, lambda image: encode(image, "JPEG", icc_profile=GREY_LINEAR)),
        ("L", GREY_LINEAR, lambda image: encode(image, "PNG", icc_profile=GREY_LINEAR)),
        ("L", GREY_LINEAR, lambda image: encode(image, "TIFF", icc_profile=GREY_LINEAR)),
        ("CMYK", CMYK, lambda image: encode(image, "JPEG", icc_profile=CMYK, quality=95)),
        ("CMYK", CMYK, lambda image: encode(image, "TIFF", icc_profile=CMYK, compression="tiff_lzw")),
    ],
)
@both_codecs
def test_grey_and_cmyk_go_to_srgb(mode: str, profile: bytes, file: Any, codec: str) -> None:
    data = file(PICTURE.convert(mode))
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == mode
        image.load()
    result = convert(data, codec=codec)
    assert np.abs(result - to_srgb(image, profile)).max() <= 1
    assert np.abs(result - np.asarray(image.convert("RGB"))).max() > 20


@both_codecs
def test_inverted_ycck_is_read_as_adobe_stores_it(codec: str) -> None:
    stored = encode(PICTURE.convert("CMYK"), "JPEG", icc_profile=CMYK, quality=95, subsampling=0)
    adobe = stored.index(b"Adobe")
    data = stored[: adobe + 11] + b"\x02" + stored[adobe + 12 :]  # the same planes, declared YCCK
    with Image.open(io.BytesIO(data)) as image:
        assert (convert(data, codec=codec) == to_srgb(image, CMYK)).all()


SRGB_PROFILES = {
    "LittleCMS": ImageCms.ImageCmsProfile(SRGB).tobytes(),
    "parametric": matrix_profile(SRGB_PRIMARIES, SRGB_CURVE),
    "table of 1024": matrix_profile(SRGB_PRIMARIES, srgb_table(1024)),
    "table of 4096": matrix_profile(SRGB_PRIMARIES, srgb_table(4096)),
    "rounded primaries": matrix_profile([(0.6401, 0.3299), (0.3001, 0.5999), (0.15, 0.0601)], srgb_table(1024)),
    "grey": grey_profile(SRGB_CURVE),
}


@both_codecs
@pytest.mark.parametrize("name", SRGB_PROFILES)
def test_srgb_by_any_bytes_changes_nothing(name: str, codec: str) -> None:
    image = PICTURE.convert("L") if name == "grey" else PICTURE
    plain, tagged = encode(image, "JPEG"), encode(image, "JPEG", icc_profile=SRGB_PROFILES[name])
    result = convert_image(tagged, Conversion((20, 12), codec=codec))
    assert result.data == convert_image(plain, Conversion((20, 12), codec=codec)).data
    assert result.notes == ()
    if name != "grey":
        assert convert_image(tagged, Conversion(passthrough=True, codec=codec)).data == tagged


@both_codecs
def test_another_profile_is_a_change_for_passthrough_unless_it_is_kept(codec: str) -> None:
    data = encode(PICTURE, "JPEG", icc_profile=DISPLAY_P3)
    assert convert_image(data, Conversion(passthrough=True, codec=codec)).data != data
    assert convert_image(data, Conversion(passthrough=True, colour="keep", codec=codec)).data == data


@both_codecs
@pytest.mark.parametrize("profile", [DISPLAY_P3, LONG_RGB, SRGB_PROFILES["LittleCMS"]], ids=["P3", "long", "sRGB"])
@pytest.mark.parametrize("format", ["jpg", "png", "webp"])
def test_keep_leaves_pixels_and_embeds_the_profile(format: str, profile: bytes, codec: str) -> None:
    data = encode(PICTURE, "PNG", icc_profile=profile)
    kept, plain = (
        convert_image(file, Conversion((20, 12), format=format, colour="keep", codec=codec)).data
        for file in (data, encode(PICTURE, "PNG"))
    )
    assert (decode(kept) == decode(plain)).all()
    with Image.open(io.BytesIO(kept)) as image:
        assert image.info["icc_profile"] == profile
    assert convert_image(kept, Conversion(format=format, codec=codec)).notes == ()


@pytest.mark.parametrize(("mode", "profile"), [("L", GREY_LINEAR), ("CMYK", CMYK)])
def test_keep_brings_to_srgb_what_a_profile_of_rgb_cannot_describe(mode: str, profile: bytes) -> None:
    data = encode(PICTURE.convert(mode), "JPEG", icc_profile=profile)
    kept, brought = (convert_image(data, Conversion(colour=colour)).data for colour in ("keep", "srgb"))
    assert kept == brought


def with_field(profile: bytes, at: int, value: bytes) -> bytes:
    return profile[:at] + value + profile[at + len(value) :]


BROKEN = {
    "no bytes": b"",
    "a few bytes": b"profile" * 30,
    "cut": ADOBE_RGB[:300],
    "its tags are elsewhere": ADOBE_RGB[:132] + b"\xff" * (len(ADOBE_RGB) - 132),
    "2^32 tags": with_field(ADOBE_RGB, 128, b"\xff" * 4),
    "a device link": with_field(ADOBE_RGB, 12, b"link"),
    "named colours": with_field(ADOBE_RGB, 12, b"nmcl"),
    "an effect": with_field(ADOBE_RGB, 12, b"abst"),
    "between other spaces": with_field(ADOBE_RGB, 20, b"RGB "),
    "of grey": GREY_LINEAR,
    "of CMYK": CMYK,
    "of a class that is no text": with_field(ADOBE_RGB, 12, b"\xff\xfe\0\1"),
    "of nothing": with_field(ADOBE_RGB, 12, bytes(4)),
    "of colours that are no text": with_field(ADOBE_RGB, 16, b"\xff\xfe\0\1"),
    "of Lab": with_field(ADOBE_RGB, 16, b"Lab "),
    "version 9": with_field(ADOBE_RGB, 8, b"\x09"),
    "too long": ADOBE_RGB + bytes(5 << 20),
}


@both_codecs
@pytest.mark.parametrize(
    ("format", "name"),
    [
        (f, name)
        for f in ("JPEG", "PNG", "WEBP", "TIFF")
        for name in BROKEN
        if name != "no bytes" or f in ("JPEG", "PNG")
    ],
)
def test_a_profile_that_cannot_be_used_is_a_note(name: str, format: str, codec: str) -> None:
    profile = BROKEN[name]
    if format == "PNG":
        data = png(chunk(b"iCCP", b"x\0\0" + zlib.compress(profile)))
    elif not profile:
        data = jpeg((0xE2, b"ICC_PROFILE\0\1\1"))
    else:
        data = encode(PICTURE, format, icc_profile=profile)
    plain = encode(PICTURE, format)
    result = convert_image(data, Conversion(format="png", codec=codec))
    assert (decode(result.data) == convert(plain, codec=codec)).all()
    if name != "version 9":  # which LittleCMS may read
        assert "profile" in " ".join(result.notes)
    assert all(len(note) <= 200 for note in result.notes)
    # Neither is it kept.
    kept = convert_image(data, Conversion(format="png", colour="keep", codec=codec)).data
    with Image.open(io.BytesIO(kept)) as image:
        assert name == "version 9" or "icc_profile" not in image.info


@pytest.mark.parametrize(
    "parts",
    [
        [b"\1\2" + ADOBE_RGB[:200]],
        [b"\1\2" + ADOBE_RGB[:200], b"\1\2" + ADOBE_RGB[200:]],
        [b"\0\0" + ADOBE_RGB],
        [b"\2\2" + ADOBE_RGB[200:], b"\3\3" + ADOBE_RGB[:200]],
    ],
)
def test_a_profile_whose_parts_are_not_all_there_is_a_note(parts: list[bytes]) -> None:
    data = jpeg(*((0xE2, b"ICC_PROFILE\0" + part) for part in parts))
    result = convert_image(data, Conversion(format="png"))
    assert result.notes == ("the colour profile is not whole: taken for sRGB",)
    assert (decode(result.data) == convert(jpeg())).all()


def test_parts_in_another_order_are_one_profile() -> None:
    parts = [(0xE2, b"ICC_PROFILE\0\2\2" + ADOBE_RGB[200:]), (0xE2, b"ICC_PROFILE\0\1\2" + ADOBE_RGB[:200])]
    assert read_whole_header(jpeg(*parts)).profile == ADOBE_RGB


def test_chunks_that_say_how_colours_are_shown_are_not_applied() -> None:
    shown = chunk(b"gAMA", struct.pack(">I", 100_000)) + chunk(b"cHRM", struct.pack(">8I", *range(1000, 9000, 1000)))
    assert (convert(png(shown, chunk(b"sRGB", b"\1"))) == np.asarray(PICTURE)).all()
    assert convert_image(png(shown), Conversion()).notes == ()
    assert convert_image(png(chunk(b"cICP", b"\1\x0d\0\1")), Conversion()).notes == ()
    bright = convert_image(png(chunk(b"cICP", b"\x09\x10\0\1")), Conversion(format="png"))
    assert (decode(bright.data) == np.asarray(PICTURE)).all()
    assert "cICP" in bright.notes[0]


def test_threads_give_the_bytes_of_one() -> None:
    profiles = [matrix_profile([(0.68, 0.32), (0.2 + i / 100, 0.7), (0.15, 0.06)], gamma_curve(1.8)) for i in range(20)]
    inputs = [encode(PICTURE, "JPEG", icc_profile=profile) for profile in profiles]
    alone = [convert_image(data, Conversion()).data for data in inputs]
    assert len(set(alone)) > 15
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert [result.data for result in pool.map(lambda data: convert_image(data, Conversion()), inputs)] == alone


LEAF = (60, 160, 60)


@pytest.fixture(scope="module")
def leaf() -> bytes:
    """Return a JPEG in Adobe RGB whose colour is LEAF in sRGB."""
    adobe = ImageCms.ImageCmsProfile(io.BytesIO(ADOBE_RGB))
    image = ImageCms.profileToProfile(Image.new("RGB", (64, 48), LEAF), SRGB, adobe)
    return encode(image, "JPEG", quality=95, icc_profile=ADOBE_RGB)


def test_loader_and_duplicates_see_the_same_colours(leaf: bytes) -> None:
    assert np.abs(np.asarray(decode_image(leaf)).astype(int) - LEAF).max() <= 4
    transform = Squash(32, 32)
    for dtype in (np.uint8, np.float32):
        batch = np.empty((2, 3, 32, 32), dtype)
        draws = np.zeros(2, np.uint64)
        assert transform_images([leaf, leaf], transform, draws, open_resizer(transform.size), batch) == {}
        assert np.abs(batch.transpose(0, 2, 3, 1) - LEAF).max() <= 4


def test_a_picture_in_another_space_has_the_hash_of_its_colours(photos: Any) -> None:
    with Image.open(photos / "Felis_catus_1.webp") as image:
        photo = image.convert("RGB").resize((300, 200))
    wide = matrix_profile([(0.73, 0.27), (0.12, 0.82), (0.15, 0.02)], gamma_curve(1.0))
    moved = ImageCms.profileToProfile(photo, SRGB, ImageCms.ImageCmsProfile(io.BytesIO(wide)))
    hashes = [
        int(hash_image(encode(image, "PNG", icc_profile=profile))[0], 16)
        for image, profile in ((photo, None), (moved, wide), (moved, None))
    ]
    assert (hashes[0] ^ hashes[1]).bit_count() < (hashes[0] ^ hashes[2]).bit_count() / 2


def test_littlecms_is_among_the_versions() -> None:
    assert codec_versions("pillow")["littlecms2"]


@pytest.mark.parametrize("device", [b"scnr", b"mntr", b"prtr", b"spac"])
def test_profiles_of_all_kinds_of_devices_are_used(device: bytes) -> None:
    plain, tagged = (
        convert_image(encode(PICTURE, "PNG", icc_profile=profile), Conversion(format="png"))
        for profile in (ADOBE_RGB, with_field(ADOBE_RGB, 12, device))
    )
    assert (decode(tagged.data) == decode(plain.data)).all()
    assert tagged.notes == ()
