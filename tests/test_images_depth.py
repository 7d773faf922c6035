"""Samples of 10 to 16 bits: which of them are written, in every file that can hold them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from image_files import chunk, decode, deep_png, grey_tags, tiff, with_tags

from shardforge.errors import ImageError, UsageError
from shardforge.images.convert import CODECS, Conversion, convert_image
from shardforge.images.depth import FEWER_BITS

Array = npt.NDArray[Any]
SHORT = struct.Struct("<H").pack


def ramp(bits: int, channels: int = 1) -> Array:
    """Return samples of 32 x 32 pixels with every level that 8 bits can tell apart, each channel other ones."""
    levels = np.linspace(0, (1 << bits) - 1, 32 * 32).round().astype(np.uint16).reshape(32, 32)
    return np.stack([np.roll(levels, 100 * channel) for channel in range(channels)], -1)


def grey_tiff(samples: Array, order: str = "<", *others: Any, **options: Any) -> bytes:
    content = samples.astype(order + "u2").tobytes()
    return tiff(with_tags(grey_tags(32, 32, 16, order, **options), *others), content, order)


def colour_tiff(samples: Array, order: str = "<", *, planes: bool = False, packed: bool = False) -> bytes:
    """Return a TIFF of RGB or RGBA, in one strip or one for each plane."""
    channels = samples.shape[-1]
    parts = [samples[..., i] for i in range(channels)] if planes else [samples]
    strips = [part.astype(order + "u2").tobytes() for part in parts]
    strips = [zlib.compress(strip) for strip in strips] if packed else strips
    tags = with_tags(
        grey_tags(32, 32, 16, order),
        (258, 3, channels, struct.pack(f"{order}{channels}H", *[16] * channels)),
        (259, 3, 1, struct.pack(order + "H", 8 if packed else 1)),
        (262, 3, 1, struct.pack(order + "H", 2)),
        (277, 3, 1, struct.pack(order + "H", channels)),
        (279, 4, len(strips), struct.pack(f"{order}{len(strips)}I", *map(len, strips))),
        (284, 3, 1, struct.pack(order + "H", 2 if planes else 1)),
        *([(338, 3, 1, struct.pack(order + "H", 2))] if channels == 4 else []),
    )
    if planes:
        # The strips follow each other behind the values, whose length does not hang on what they say.
        begin = len(tiff(with_tags(tags, (273, 4, channels, bytes(4 * channels)))))
        places = np.cumsum([0, *map(len, strips[:-1])]) + begin
        tags = with_tags(tags, (273, 4, channels, places.astype(order + "u4").tobytes()))
    return tiff(tags, b"".join(strips), order)


def packed_12_bits(samples: Array) -> bytes:
    pairs = samples.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    return tiff(grey_tags(32, 32, 12), packed.tobytes())


FILES: dict[str, tuple[int, Callable[[Array], bytes]]] = {
    "grey PNG": (1, lambda samples: deep_png(samples, 0)),
    "grey and alpha PNG": (
        1,
        lambda samples: deep_png(np.concatenate([samples, np.full_like(samples, 0xFFFF)], -1), 4),
    ),
    "RGB PNG": (3, lambda samples: deep_png(samples, 2)),
    "RGBA PNG": (3, lambda samples: deep_png(np.concatenate([samples, np.full_like(samples, 0xFFFF)[..., :1]], -1), 6)),
    "grey TIFF": (1, grey_tiff),
    "grey TIFF, big end first": (1, lambda samples: grey_tiff(samples, ">")),
    "grey TIFF, 0 is white": (1, lambda samples: grey_tiff(samples.max() - samples, photometric=0)),
    "RGB TIFF": (3, colour_tiff),
    "RGB TIFF, big end first": (3, lambda samples: colour_tiff(samples, ">")),
    "RGB TIFF in planes": (3, lambda samples: colour_tiff(samples, planes=True)),
    "RGB TIFF in planes, big end first": (3, lambda samples: colour_tiff(samples, ">", planes=True)),
    "compressed RGB TIFF": (3, lambda samples: colour_tiff(samples, packed=True)),
    "compressed RGB TIFF in planes, big end first": (
        3,
        lambda samples: colour_tiff(samples, ">", planes=True, packed=True),
    ),
    "RGBA TIFF": (
        3,
        lambda samples: colour_tiff(np.concatenate([samples, np.full_like(samples, 0xFFFF)[..., :1]], -1)),
    ),
}


def convert(data: bytes, **options: Any) -> tuple[Array, tuple[str, ...]]:
    result = convert_image(data, Conversion(format="png", **options))
    return decode(result.data), result.notes


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", FILES)
def test_samples_are_taken_for_the_fewest_bits_that_hold_them(name: str, bits: int) -> None:
    channels, make = FILES[name]
    samples = ramp(bits, channels)
    expected = np.broadcast_to(samples >> (bits - 8), (32, 32, 3))
    for codec in CODECS:
        pixels, notes = convert(make(samples), codec=codec)
        assert (pixels == expected).all()
        assert notes == (() if bits == 16 else (f"{FEWER_BITS}{(1 << bits) - 1} taken for {bits} bits",))


@pytest.mark.parametrize("name", FILES)
def test_full_takes_the_upper_bits_and_range_all_that_there_is(name: str) -> None:
    channels, make = FILES[name]
    samples = np.minimum(ramp(12, channels) + 1000, 3333)
    pixels, notes = convert(make(samples), sixteen_bit="full")
    stored = 3333 - samples if "0 is white" in name else samples
    upper = 255 - (stored >> 8) if "0 is white" in name else stored >> 8
    assert (pixels == upper).all()
    pixels, range_notes = convert(make(samples), sixteen_bit="range")
    expected = (samples.astype(np.float64) - 1000) * 255 / 2333
    assert np.abs(pixels - expected).max() <= (1 if "0 is white" in name else 0.5)
    assert notes == range_notes == ()


LARGEST, SMALL_LARGEST = 281, 341


@pytest.mark.parametrize(
    ("data", "shift", "notes"),
    [
        # What the file says counts as long as it can be true.
        (lambda s: grey_tiff(s, "<", (LARGEST, 3, 1, SHORT(4095))), 4, 0),
        (lambda s: grey_tiff(s // 2, "<", (LARGEST, 3, 1, SHORT(4095))), 5, 0),
        (lambda s: grey_tiff(s, ">", (LARGEST, 3, 1, struct.pack(">H", 4095))), 4, 0),
        (lambda s: grey_tiff(s, "<", (LARGEST, 3, 1, SHORT(65535))), 8, 0),
        (lambda s: grey_tiff(s, "<", (LARGEST, 3, 1, SHORT(255))), 4, 1),
        (lambda s: grey_tiff(s, "<", (SMALL_LARGEST, 3, 1, SHORT(16_383))), 6, 0),
        (packed_12_bits, 4, 0),
        (lambda s: deep_png(s, 0, chunk(b"sBIT", b"\x0c")), 4, 0),
        (lambda s: deep_png(s // 2, 0, chunk(b"sBIT", b"\x0c")), 5, 0),
        (lambda s: deep_png(s, 0, chunk(b"sBIT", b"\x10")), 8, 0),
        (lambda s: deep_png(s, 0, chunk(b"sBIT", b"\x0a")), 8, 0),  # samples scaled to 16 bits, of a dark picture
        (lambda s: b"P5 32 32 4095\n" + s.astype(">u2").tobytes(), 4, 0),
        (lambda s: b"P5 32 32 65535\n" + s.astype(">u2").tobytes(), 4, 1),
        (lambda s: b"P6 32 32 4095\n" + np.repeat(s, 3, -1).astype(">u2").tobytes(), 4, 0),
    ],
)
def test_what_the_file_says_of_its_samples_counts_first(data: Any, shift: int, notes: int) -> None:
    samples = ramp(12)
    stored = samples // 2 if shift == 5 else samples
    pixels, said = convert(data(samples))
    assert np.abs(pixels - (stored >> (4 if shift == 5 else shift))).max() <= (1 if said == () and shift == 4 else 0)
    assert len(said) == notes


def test_alpha_has_bits_of_its_own_and_a_clear_colour_all_of_its() -> None:
    samples = np.full((4, 4, 4), 4095, np.uint16)
    samples[..., 3] = [0, 0, 0xFFFF, 0xFFFF]
    samples[..., 1] = 0
    pixels, _ = convert(deep_png(samples, 6))
    assert (pixels[:, :2] == 255).all()
    assert (pixels[:, 2:] == (255, 0, 255)).all()
    samples[..., 3] = 4095  # of twelve bits like the colours
    assert (convert(deep_png(samples, 6))[0] == (255, 0, 255)).all()
    grey = np.array([[[1000], [1001]]], np.uint16)
    assert (convert(deep_png(grey, 0, chunk(b"tRNS", struct.pack(">H", 1000))))[0][0, :, 0] == (255, 1001 >> 2)).all()
    colours = np.array([[[1000, 0, 4095], [1000, 0, 4094]]], np.uint16)
    clear = chunk(b"tRNS", struct.pack(">HHH", 1000, 0, 4095))
    assert convert(deep_png(colours, 2, clear))[0].tolist() == [[[255, 255, 255], [62, 0, 255]]]


def test_images_of_one_value_have_a_stated_brightness() -> None:
    black, grey = (np.full((8, 8, 1), value, np.uint16) for value in (0, 0x1234))
    for mode in ("auto", "full", "range"):
        pixels, notes = convert(deep_png(black, 0), sixteen_bit=mode)
        assert (pixels == 0).all()
        assert notes == ()
    assert (convert(deep_png(grey, 0), sixteen_bit="range")[0] == 0x12).all()


def test_interlaced_samples_are_read_whole() -> None:
    samples = ramp(12, 3)[:8, :8]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(
        b"\0" + row.astype(">u2").tobytes()
        for top, left, down, across in passes
        for row in samples[top::down, left::across]
    )
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 1))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert (convert(data, sixteen_bit="full")[0] == samples >> 8).all()
    assert (convert(data)[0] == samples >> 4).all()


@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("bits", [16, 32])
def test_signed_and_float_samples_stay_refused(kind: int, bits: int) -> None:
    tags = with_tags(grey_tags(8, 8, bits), (339, 3, 1, SHORT(kind)))
    with pytest.raises(ImageError) as caught:
        convert_image(tiff(tags, bytes(8 * 8 * bits // 8)), Conversion())
    assert caught.value.reason == "unsupported"


def test_other_modes_are_refused() -> None:
    with pytest.raises(UsageError, match="auto, full, range"):
        Conversion(sixteen_bit="clip")
    with pytest.raises(UsageError, match="srgb, keep"):
        Conversion(colour="p3")


@pytest.mark.parametrize(
    ("largest", "stored", "expected"),
    [
        (1, [0, 1], [0, 255]),
        (3, [0, 1, 2, 3], [0, 85, 170, 255]),
        (100, [0, 50, 100, 200], [0, 128, 255, 255]),  # more than the largest is the largest
        (254, [0, 127, 254], [0, 128, 255]),
        (255, [0, 127, 255], [0, 127, 255]),
        (256, [0, 128, 256, 999], [0, 128, 255, 255]),
        (1000, [0, 500, 1000], [0, 128, 255]),
        (65_534, [0, 32_767, 65_534], [0, 128, 255]),
    ],
)
def test_samples_of_a_pnm_are_parts_of_its_largest(largest: int, stored: list[int], expected: list[int]) -> None:
    kind = ">u2" if largest > 255 else np.uint8
    for number, channels in ((5, 1), (6, 3)):
        samples = np.repeat(np.array(stored, kind), channels).tobytes()
        data = b"P%d %d 1 %d\n" % (number, len(stored), largest) + samples
        for codec in CODECS:
            pixels, _ = convert(data, codec=codec)
            assert pixels.tolist() == [[[value] * 3 for value in expected]]
        with pytest.raises(ImageError) as caught:
            convert_image(data[:-1], Conversion())
        assert caught.value.reason == "truncated"


@pytest.mark.parametrize("largest", [0, 65_536])
def test_a_pnm_of_no_depth_is_corrupt(largest: int) -> None:
    with pytest.raises(ImageError) as caught:
        convert_image(b"P5 1 1 %d\n" % largest + bytes(2), Conversion())
    assert caught.value.reason == "corrupt"
