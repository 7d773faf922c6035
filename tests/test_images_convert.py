from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shardforge.errors import ImageError, UsageError
from shardforge.images.convert import CODECS, Conversion, check_image, choose_codec, codec_versions, convert_image
from shardforge.images.fast_codec import FastCodec
from shardforge.images.geometry import plan_resize
from shardforge.images.header import Header, read_header
from shardforge.images.pillow_codec import PillowCodec

PILLOW_NAMES = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
both_codecs = pytest.mark.parametrize("codec", CODECS)


@pytest.fixture(scope="session")
def photo(photos: Path) -> Image.Image:
    """Return a real photo in RGB, 300 x 200."""
    with Image.open(photos / "Felis_catus_1.webp") as image:
        return image.convert("RGB").resize((300, 200))


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    output = io.BytesIO()
    image.save(output, format, **options)
    return output.getvalue()


def convert(data: bytes, **options: Any) -> bytes:
    return convert_image(data, Conversion(**options)).data


def pixels(source: bytes | Image.Image) -> npt.NDArray[np.int16]:
    """Return pixels of shape (height, width, 3)."""
    image = Image.open(io.BytesIO(source)) if isinstance(source, bytes) else source
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int16)


def psnr(a: bytes | Image.Image, b: bytes | Image.Image) -> float:
    error = np.mean((pixels(a).astype(np.float64) - pixels(b)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def reason_of(data: bytes, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        convert_image(data, Conversion(**options))
    return caught.value.reason


@both_codecs
def test_crop_keeps_the_centre_and_pad_is_black_around_it(codec: str) -> None:
    stripes = Image.new("RGB", (300, 100), "red")
    stripes.paste("lime", (100, 0, 200, 100))
    data = encode(stripes, "PNG")
    crop = pixels(convert(data, size=(50, 50), resize="crop", format="png", codec=codec))
    assert (crop[:, 2:-2] == (0, 255, 0)).all()
    pad = pixels(convert(data, size=(60, 60), resize="pad", format="png", codec=codec))
    assert (pad[:20] == 0).all()
    assert (pad[40:] == 0).all()
    assert (pad[30, [5, 30, 55]] == [(255, 0, 0), (0, 255, 0), (255, 0, 0)]).all()


@both_codecs
@pytest.mark.parametrize("mode", ["squash", "crop", "pad", "shortest"])
@pytest.mark.parametrize("size", [(60, 40), (149, 97), (400, 400)])
def test_result_is_close_to_a_full_decode_resized_by_pillow(
    photo: Image.Image, codec: str, mode: str, size: tuple[int, int]
) -> None:
    data = encode(photo, "JPEG", quality=95)
    geometry = plan_resize(photo.size, size, mode, upscale=True)
    expected = Image.open(io.BytesIO(data)).resize(geometry.size, Image.Resampling.BICUBIC, geometry.box)
    canvas = Image.new("RGB", geometry.canvas)
    canvas.paste(expected, tuple((a - b) // 2 for a, b in zip(canvas.size, expected.size, strict=True)))
    result = convert(data, size=size, resize=mode, upscale=True, format="png", codec=codec)
    assert psnr(result, canvas) > 40


@pytest.mark.parametrize("format", ["jpg", "png", "webp"])
def test_the_codecs_agree(photo: Image.Image, format: str) -> None:
    data = encode(photo.resize((1201, 903)), "JPEG", quality=90)
    fast, pillow = (convert(data, size=(128, 128), resize="crop", format=format, codec=codec) for codec in CODECS)
    assert psnr(fast, pillow) > 40


def _palette_with_transparency() -> tuple[bytes, npt.NDArray[np.int16]]:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(0, (0, 0, 4, 8))
    expected = np.full((8, 8, 3), (200, 100, 50), np.int16)
    expected[:, :4] = 255
    return encode(image, "PNG", transparency=0), expected


def _constant(colour: tuple[int, int, int]) -> npt.NDArray[np.int16]:
    return np.full((8, 8, 3), colour, np.int16)


def _png_of_16_bit_rgb() -> bytes:
    """Return an 8 x 8 PNG of 16-bit RGB, which Pillow can read and not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + struct.pack(">HHH", 0xC8FF, 0x6400, 0x3280) * 8) * 8
    head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _grey_alpha() -> bytes:
    return encode(Image.merge("LA", [Image.new("L", (8, 8), 0), Image.new("L", (8, 8), 55)]), "PNG")


def _animation(format: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 100, 50), (0, 0, 255))]
    return encode(
        frames[0], format, save_all=True, append_images=frames[1:], **({"lossless": True} if format == "WEBP" else {})
    )


def _palette_frames() -> bytes:
    return encode(Image.new("P", (8, 8), 1), "GIF", transparency=1)


CASES: dict[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {
    "grey": (lambda: encode(Image.new("L", (8, 8), 77), "PNG"), (77, 77, 77)),
    "1 bit": (lambda: encode(Image.new("1", (8, 8), 1), "PNG"), (255, 255, 255)),
    "16-bit grey": (lambda: encode(Image.new("I;16", (8, 8), 0x80FF), "PNG"), (0x80, 0x80, 0x80)),
    "16-bit grey TIFF": (lambda: encode(Image.new("I;16", (8, 8), 0x80FF), "TIFF"), (0x80, 0x80, 0x80)),
    "16-bit grey, transparent": (
        lambda: encode(Image.new("I;16", (8, 8), 0x80FF), "PNG", transparency=0x80FF),
        (255, 255, 255),
    ),
    "16-bit RGB": (_png_of_16_bit_rgb, (0xC8, 0x64, 0x32)),
    "RGB, transparent colour": (
        lambda: encode(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        (255, 255, 255),
    ),
    "RGBA": (lambda: encode(Image.new("RGBA", (8, 8), (255, 0, 0, 51)), "PNG"), (255, 204, 204)),
    "grey and alpha": (_grey_alpha, (200, 200, 200)),
    "palette GIF, transparent": (_palette_frames, (255, 255, 255)),
    "CMYK TIFF": (lambda: encode(Image.new("CMYK", (8, 8), (55, 155, 205, 0)), "TIFF"), (200, 100, 50)),
    "YCbCr TIFF": (lambda: encode(Image.new("YCbCr", (8, 8), (150, 128, 128)), "TIFF"), (150, 150, 150)),
    "two GIF frames": (lambda: _animation("GIF"), (200, 100, 50)),
    "two WebP frames": (lambda: _animation("WEBP"), (200, 100, 50)),
    "two APNG frames": (lambda: _animation("PNG"), (200, 100, 50)),
    "two TIFF pages": (lambda: _animation("TIFF"), (200, 100, 50)),
    "BMP": (lambda: encode(Image.new("RGB", (8, 8), (200, 100, 50)), "BMP"), (200, 100, 50)),
    "PPM": (lambda: encode(Image.new("RGB", (8, 8), (200, 100, 50)), "PPM"), (200, 100, 50)),
    "JPEG 2000": (lambda: encode(Image.new("RGB", (8, 8), (200, 100, 50)), "JPEG2000"), (200, 100, 50)),
}


@both_codecs
@pytest.mark.parametrize("case", CASES)
def test_pixels_of_every_kind_become_rgb(case: str, codec: str) -> None:
    make, colour = CASES[case]
    assert (pixels(convert(make(), format="png", codec=codec)) == _constant(colour)).all()


@both_codecs
def test_transparent_parts_of_a_palette_become_white(codec: str) -> None:
    data, expected = _palette_with_transparency()
    assert (pixels(convert(data, format="png", codec=codec)) == expected).all()


@both_codecs
def test_jpegs_of_other_colours_become_rgb(photo: Image.Image, codec: str) -> None:
    for mode in ("L", "CMYK"):
        stored = photo.convert(mode)
        result = convert(encode(stored, "JPEG", quality=95), format="png", codec=codec)
        assert psnr(result, stored.convert("RGB")) > 35


@both_codecs
def test_ycck_is_inverted_as_adobe_stores_it(photo: Image.Image, codec: str) -> None:
    cmyk = encode(photo.convert("CMYK"), "JPEG", quality=95, subsampling=0)
    # The same four planes, declared YCCK: transform 2 in the Adobe segment.
    adobe = cmyk.index(b"Adobe")
    ycck = cmyk[: adobe + 11] + b"\x02" + cmyk[adobe + 12 :]
    result = convert(ycck, format="png", codec=codec)
    assert psnr(result, Image.open(io.BytesIO(ycck)).convert("RGB")) > 60
    assert psnr(result, photo) < 20


@both_codecs
def test_mpo_gives_its_first_picture(photo: Image.Image, codec: str) -> None:
    data = encode(photo, "MPO", save_all=True, append_images=[Image.new("RGB", photo.size)], quality=95)
    assert psnr(convert(data, format="png", codec=codec), photo) > 35


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pixels_without_a_conversion_are_unsupported(mode: str) -> None:
    assert reason_of(encode(Image.new(mode, (8, 8)), "TIFF")) == "unsupported"


@both_codecs
@pytest.mark.parametrize("resize", ["squash", "longest", "crop", "pad"])
def test_all_eight_orientations_give_the_same_upright_picture(photo: Image.Image, codec: str, resize: str) -> None:
    to_stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    results = []
    for orientation, turn in to_stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = photo if turn is None else photo.transpose(turn)
        data = encode(stored, "PNG", exif=exif)
        results.append(convert(data, size=(90, 50), resize=resize, format="png", codec=codec))
    assert all(psnr(result, results[0]) > 45 for result in results)


@both_codecs
def test_a_photo_of_a_phone_is_turned(photo: Image.Image, codec: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(photo.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)
    result = convert_image(data, Conversion((60, 40), format="png", codec=codec))
    assert (result.width, result.height) == (60, 40)
    assert psnr(result.data, photo.resize((60, 40), Image.Resampling.BICUBIC)) > 35


@both_codecs
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_a_cut_file_is_truncated(photo: Image.Image, format: str, codec: str) -> None:
    data = encode(photo, format)
    for kept in (len(data) // 2, len(data) * 9 // 10):
        assert reason_of(data[:kept], codec=codec) in ("truncated", *(["corrupt"] if format == "TIFF" else []))
        with pytest.raises(ImageError):
            check_image(data[:kept], codec)


@both_codecs
@pytest.mark.parametrize("cut", [1, 2, 10])
@pytest.mark.parametrize(
    ("format", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {})]
)
def test_a_file_without_its_last_bytes_is_truncated(
    photo: Image.Image, format: str, options: dict[str, Any], cut: int, codec: str
) -> None:
    assert reason_of(encode(photo, format, **options)[:-cut], codec=codec) == "truncated"


@both_codecs
def test_a_jpeg_that_only_makes_libjpeg_warn_is_accepted(photo: Image.Image, codec: str) -> None:
    data = encode(photo, "JPEG")
    assert data.endswith(b"\xff\xd9")
    stray = data[:-2] + b"stray" + data[-2:]
    assert psnr(convert(stray, format="png", codec=codec), Image.open(io.BytesIO(data))) > 60


@both_codecs
def test_damaged_pixels_are_corrupt(photo: Image.Image, codec: str) -> None:
    data = encode(photo, "JPEG")
    tables = data.index(b"\xff\xc4")
    assert reason_of(data[: tables + 5] + b"\xff" * 16 + data[tables + 21 :], codec=codec) == "corrupt"


@both_codecs
def test_a_bomb_is_refused_by_its_header(codec: str) -> None:
    bomb = encode(Image.new("1", (15_000, 14_000)), "PNG")
    assert reason_of(bomb, codec=codec) == "too_many_pixels"
    with pytest.raises(ImageError, match="--max-pixels"):
        check_image(bomb, codec)


def test_a_larger_limit_admits_a_large_image_without_a_warning() -> None:
    large = encode(Image.new("1", (9_500, 9_500)), "PNG")  # Pillow would warn
    assert reason_of(large, max_pixels=90_000_000) == "too_many_pixels"
    result = convert_image(large, Conversion((224, 224), "longest", max_pixels=100_000_000))
    assert (result.width, result.height) == (224, 224)


@both_codecs
def test_a_very_wide_image_keeps_one_row(codec: str) -> None:
    wide = encode(Image.new("RGB", (30_000, 5)), "JPEG")
    result = convert_image(wide, Conversion((224, 224), "longest", codec=codec))
    assert (result.width, result.height) == (224, 1)


@both_codecs
def test_a_side_that_the_format_cannot_hold_is_unsupported(codec: str) -> None:
    assert reason_of(encode(Image.new("RGB", (30_000, 5)), "PNG"), format="webp", codec=codec) == "unsupported"
    assert reason_of(encode(Image.new("RGB", (66_000, 5)), "PNG"), format="jpg", codec=codec) == "unsupported"


@both_codecs
@pytest.mark.parametrize("format", ["jpg", "png", "webp"])
def test_the_output_has_no_metadata(photo: Image.Image, format: str, codec: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "camera"
    for source in ("JPEG", "PNG", "WEBP"):
        options = {"comment": b"said"} if source == "JPEG" else {}
        data = encode(photo, source, exif=exif, icc_profile=b"profile" * 30, dpi=(300, 300), **options)
        with Image.open(io.BytesIO(convert(data, size=(50, 50), format=format, codec=codec))) as result:
            assert {"exif", "icc_profile", "comment", "dpi"}.isdisjoint(result.info)


@pytest.mark.parametrize("format", ["jpg", "png", "webp"])
def test_the_output_is_rgb_of_the_asked_format(photo: Image.Image, format: str) -> None:
    with Image.open(io.BytesIO(convert(encode(photo, "GIF"), format=format))) as result:
        assert (result.format, result.mode) == (PILLOW_NAMES[format], "RGB")


def test_jpegs_are_baseline_with_halved_colour(photo: Image.Image) -> None:
    for codec in CODECS:
        with Image.open(io.BytesIO(convert(encode(photo, "PNG"), codec=codec))) as result:
            assert not result.info.get("progressive")
            assert [(h, v) for _, h, v, _ in result.layer] == [(2, 2), (1, 1), (1, 1)]


@both_codecs
@pytest.mark.parametrize("format", PILLOW_NAMES)
@pytest.mark.parametrize("size", [None, (300, 200), (900, 900)])
def test_passthrough_returns_the_same_bytes(
    photo: Image.Image, format: str, size: tuple[int, int] | None, codec: str
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "camera"
    data = encode(photo, PILLOW_NAMES[format], exif=exif) + (b"garbage" if format == "jpg" else b"")
    conversion = Conversion(size, "longest", format=format, passthrough=True, codec=codec)
    assert convert_image(data, conversion).data == data
    assert (convert_image(data, conversion).width, convert_image(data, conversion).height) == (300, 200)


@both_codecs
@pytest.mark.parametrize(
    ("format", "make"),
    [
        ("png", lambda photo: encode(photo, "JPEG")),
        ("jpg", lambda photo: encode(photo.convert("L"), "JPEG")),
        ("jpg", lambda photo: encode(photo.convert("CMYK"), "JPEG")),
        ("jpg", lambda photo: encode(photo.resize((300, 201)), "JPEG")),
        ("jpg", lambda photo: encode(photo, "JPEG", exif=_turned())),
        ("png", lambda photo: encode(photo.convert("L"), "PNG")),
        ("png", lambda photo: encode(photo.convert("P"), "PNG")),
        ("png", lambda photo: encode(photo.convert("RGBA"), "PNG")),
        ("png", lambda photo: encode(photo, "PNG", transparency=(0, 0, 0))),
        ("png", lambda photo: _png_of_16_bit_rgb()),
        ("png", lambda photo: _animation("PNG")),
        ("webp", lambda photo: encode(_translucent(photo), "WEBP")),
        ("webp", lambda photo: _animation("WEBP")),
    ],
)
def test_passthrough_converts_what_is_not_as_asked(
    photo: Image.Image, format: str, make: Callable[[Image.Image], bytes], codec: str
) -> None:
    data = make(photo.copy())
    conversion = Conversion((300, 200), format=format, passthrough=True, codec=codec)
    assert convert_image(data, conversion).data != data


def _translucent(photo: Image.Image) -> Image.Image:
    photo.putalpha(100)
    return photo


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif


@both_codecs
@pytest.mark.parametrize("format", PILLOW_NAMES)
def test_passthrough_still_refuses_a_cut_file(photo: Image.Image, format: str, codec: str) -> None:
    data = encode(photo, PILLOW_NAMES[format])
    assert reason_of(data[: len(data) * 3 // 4], format=format, passthrough=True, codec=codec) == "truncated"


@both_codecs
def test_four_threads_give_the_bytes_of_one(photo: Image.Image, codec: str) -> None:
    inputs = [encode(photo.resize((300 + 40 * i, 200 + 30 * i)), "JPEG", quality=92) for i in range(12)]
    conversion = Conversion((96, 96), "crop", codec=codec)
    alone = [convert_image(data, conversion).data for data in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert [result.data for result in pool.map(lambda data: convert_image(data, conversion), inputs)] == alone


@both_codecs
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_check_returns_the_size(photo: Image.Image, format: str, codec: str) -> None:
    assert check_image(encode(photo, format), codec) == (300, 200)


@settings(max_examples=90, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_no_damage_raises_anything_but_image_error(format: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(encode(Image.linear_gradient("L").convert("RGB").resize((40, 30)), format))
    for place, value in changes:
        data[int(place * len(data))] = value
    for codec in CODECS:
        try:
            result = convert_image(bytes(data), Conversion((16, 16), codec=codec, max_pixels=1_000_000))
        except ImageError:
            continue
        assert max(result.width, result.height) <= 16


def test_auto_is_the_fast_codec_and_wrong_options_are_refused() -> None:
    assert choose_codec("auto") == "fast"
    assert choose_codec("pillow") == "pillow"
    with pytest.raises(UsageError, match="auto, fast, pillow"):
        choose_codec("turbo")
    with pytest.raises(UsageError, match="squash"):
        Conversion(resize="stretch")
    with pytest.raises(UsageError, match="1 and 100"):
        Conversion(quality=0)


def test_versions_name_every_library() -> None:
    assert {"pillow", "libjpeg_turbo"} <= codec_versions("pillow").keys()
    assert {"simplejpeg", "cykooz.resizer"} <= codec_versions("fast").keys()
    assert all(codec_versions("fast").values())


@both_codecs
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [(MemoryError, "out_of_memory"), (SystemError, "corrupt"), (RecursionError, "corrupt"), (EOFError, "truncated")],
)
def test_whatever_decoders_raise_is_the_reason_of_the_image(
    photo: Image.Image, format: str, codec: str, error: type[Exception], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(photo, format)

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("simplejpeg.decode_jpeg", fail)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    assert reason_of(data, codec=codec) == reason


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(300, 200), (33, 17), (1, 9)])
def test_the_fast_codec_leaves_no_sound_jpeg_to_pillow(
    photo: Image.Image, size: tuple[int, int], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("Pillow was asked")

    data = encode(photo.resize(size).convert(mode), "JPEG")
    codec = FastCodec()
    for name in ("decode", "_encode"):
        monkeypatch.setattr(PillowCodec, name, fail)
    for scale in (1, 2, 4, 8):
        frame = codec.decode(data, read_header(data), scale)
        assert frame.scale == scale
        assert frame.image.size == tuple(-(-side // scale) for side in size)  # libjpeg rounds up
        assert read_header(codec.encode(frame.image, "jpg", 90)) == Header(*frame.image.size, "jpeg")
