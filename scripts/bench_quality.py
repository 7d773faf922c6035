"""Measure what each codec loses: PSNR of its encoded result against a reference made with care.

    python scripts/bench_quality.py corpora/eol --limit 200

The reference is a full decode and a Lanczos resize in floating point, never rounded in between. Reported is the mean
PSNR in dB over the images, after encoding, and the distance to plain Pillow (full decode, bicubic, the same quality).
The script fails when a full decode loses more than 0.1 dB or a scaled one more than 0.3 dB against plain Pillow.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from shardforge.images.convert import Conversion, convert_image, open_codec
from shardforge.images.geometry import Geometry, plan_resize
from shardforge.images.header import read_whole_header

FULL_DECODE_LOSS = 0.1
SCALED_DECODE_LOSS = 0.3

Encoder = Callable[[bytes, Conversion], bytes]


def plan(data: bytes, conversion: Conversion) -> Geometry:
    header = read_whole_header(data)
    return plan_resize((header.width, header.height), conversion.size, conversion.resize)


def make_reference(data: bytes, conversion: Conversion) -> npt.NDArray[np.float64]:
    """Return float pixels of shape (height, width, 3), resized one channel at a time."""
    geometry = plan(data, conversion)
    channels = Image.open(io.BytesIO(data)).convert("RGB").split()
    resized = [
        channel.convert("F").resize(geometry.size, Image.Resampling.LANCZOS, geometry.box) for channel in channels
    ]
    return np.clip(np.stack([np.asarray(channel, np.float64) for channel in resized], axis=-1), 0, 255)


def encode_with_plain_pillow(data: bytes, conversion: Conversion) -> bytes:
    geometry = plan(data, conversion)
    image = Image.open(io.BytesIO(data)).convert("RGB").resize(geometry.size, Image.Resampling.BICUBIC, geometry.box)
    output = io.BytesIO()
    image.save(output, "JPEG", quality=conversion.quality, subsampling="4:2:0")
    return output.getvalue()


def encode_after_full_decode(data: bytes, conversion: Conversion) -> bytes:
    codec = open_codec("fast")
    image = codec.resize(codec.decode(data, read_whole_header(data)), plan(data, conversion))
    return codec.encode(image, "jpg", conversion.quality)


def encode_with(codec: str) -> Encoder:
    def encode(data: bytes, conversion: Conversion) -> bytes:
        own = Conversion(conversion.size, conversion.resize, quality=conversion.quality, codec=codec)
        return convert_image(data, own).data

    return encode


#: What is compared: the name, the encoder, and the loss against the first one that is still good.
VARIANTS: tuple[tuple[str, Encoder, float], ...] = (
    ("plain Pillow", encode_with_plain_pillow, 0.0),
    ("fast, full decode", encode_after_full_decode, FULL_DECODE_LOSS),
    ("fast", encode_with("fast"), SCALED_DECODE_LOSS),
    ("pillow", encode_with("pillow"), SCALED_DECODE_LOSS),
)


def measure_psnr(encoded: bytes, reference: npt.NDArray[np.float64]) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    pixels = np.asarray(Image.open(io.BytesIO(encoded)), np.float64)
    return float(10 * np.log10(255**2 / np.mean((pixels - reference) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=200, help="images to use")
    parser.add_argument("--size", type=int, default=224, help="target width and height")
    parser.add_argument("--resize", choices=("squash", "shortest", "longest", "crop"), default="squash")
    parser.add_argument("--quality", type=int, default=90)
    options = parser.parse_args()

    paths = sorted(options.folder.rglob("*.jpg"))[: options.limit]
    if not paths:
        raise SystemExit(f"{options.folder}: holds no .jpg files; make some with scripts/make_corpora.py")
    conversion = Conversion((options.size, options.size), options.resize, quality=options.quality)
    values: list[list[float]] = []
    sizes: list[list[int]] = []
    for path in paths:
        data = path.read_bytes()
        reference = make_reference(data, conversion)
        encoded = [encode(data, conversion) for _, encode, _ in VARIANTS]
        values.append([measure_psnr(each, reference) for each in encoded])
        sizes.append([len(each) for each in encoded])

    means, mean_bytes = np.mean(values, axis=0), np.mean(sizes, axis=0)
    failed = False
    print(f"{len(paths)} images\n{'':20}{'dB':>8}{'loss':>8}{'allowed':>9}{'bytes':>8}")
    for (name, _, allowed), mean, size in zip(VARIANTS, means, mean_bytes, strict=True):
        loss = means[0] - mean
        failed |= loss > allowed
        print(f"{name:20}{mean:8.2f}{loss:8.2f}{allowed:9.1f}{size:8.0f}")
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
