"""Samples of 16 bits as they are stored, which Pillow cuts to their upper 8 where an image has colours or alpha."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL.ImageFile import ImageFile

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.depth import Samples, needs_lower_bytes
from shardforge.images.pillow import open_image

GREY_16_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_COLOURS = ("RGB;16", "RGBX;16", "RGBA;16")  # not RGBa: Pillow divides it by its alpha
_GREY_ALPHA = "LA;16B"
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class Deep(NamedTuple):
    """Samples: those of grey or RGB, shape [height, width, 1 or 3], those of alpha, and the colour that is clear."""

    colours: Samples
    alpha: Samples | None = None
    transparent: tuple[int, ...] | None = None


def read_deep(image: ImageFile, data: bytes, format: str, said: Sequence[int], mode: str) -> Deep | None:
    """Return the samples of an image that was opened from `data` and has 16 bits, None where it has others.

    The lower bytes of colours take a second pass over the file, and are left out (zero) where `said` and `mode`, as
    `to_bytes` has them, do without.
    """
    transparency = image.info.get("transparency")
    transparent = (transparency,) if isinstance(transparency, int) else transparency
    if image.mode in GREY_16_BIT:
        image.load()
        return Deep(np.asarray(image).astype(np.uint16)[..., None], transparent=transparent)
    rawmode = _rawmode(image.tile[0].args) if image.tile else ""
    if rawmode == _GREY_ALPHA:
        change_tiles(image, lambda _: "RGBA")  # the bytes of two samples, as if they were four
        image.load()
        pairs = np.ascontiguousarray(np.asarray(image)).view(">u2").astype(np.uint16)
        return Deep(pairs[..., :1], pairs[..., 1])
    if not rawmode.startswith(_COLOURS) or image.mode not in ("RGB", "RGBA"):
        return None
    tiles = list(image.tile)
    image.load()
    upper = np.asarray(image)
    samples = upper.astype(np.uint16) << np.uint16(8)
    if transparent is not None or needs_lower_bytes(upper[..., :3], said, mode):
        with open_image(data, format) as again:
            again.tile = tiles
            change_tiles(again, lambda packed: packed[:-1] + _SWAPPED[packed[-1]])
            again.load()
            samples |= np.asarray(again)
    alpha = samples[..., 3] if image.mode == "RGBA" else None
    return Deep(samples[..., :3], alpha, transparent)


def read_planes(planes: Sequence[bytes]) -> Deep:
    """Return the samples of planes of 16 bits, each a grey TIFF: Pillow reads such as planes of 8 bits.

    Raises:
        ImageError: unsupported, when they are signed or float.
    """
    samples = []
    for plane in planes:
        with open_image(plane, "tiff") as image:
            if image.mode not in GREY_16_BIT:
                raise ImageError(f"planes of Pillow's mode {image.mode}", reason=reasons.UNSUPPORTED)
            image.load()
            samples.append(np.asarray(image).astype(np.uint16))
    return Deep(np.stack(samples[:3], -1), samples[3] if len(samples) > 3 else None)


def change_tiles(image: ImageFile, change: Callable[[str], str]) -> None:
    """Let Pillow unpack the pixels of an image that is not loaded yet in another way."""
    image.tile = [tile._replace(args=_change(tile.args, change)) for tile in image.tile]


def _change(args: Any, change: Callable[[str], str]) -> Any:
    return (change(args[0]), *args[1:]) if isinstance(args, tuple) else change(args)


def _rawmode(args: Any) -> str:
    return str(args[0] if isinstance(args, tuple) else args)
