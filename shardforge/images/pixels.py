"""Pixels of every kind to 8-bit RGB, and upright.

| stored | becomes |
|---|---|
| grey, 1 bit, palette, YCbCr | the same colours in RGB |
| CMYK, YCCK | sRGB by its profile, or RGB by Pillow's formula; Adobe's inverted values are taken into account |
| 10 to 16 bits per sample | 8 bits, as `depth.py` says |
| alpha, or a transparent colour | composited over white |
| more than one frame or page | the first one |
| float, 32-bit and signed integers, Lab, HSV | refused as unsupported |

Then, on the resized image, a profile of RGB or grey is applied, as `colour.py` says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.depth import to_bytes
from shardforge.images.samples import GREY_16_BIT, Deep

_CONVERTIBLE = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})

_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image in mode RGB; see the table above.

    Raises:
        ImageError: unsupported.
    """
    if image.mode in GREY_16_BIT:
        return deep_to_rgb(Deep(np.asarray(image).astype(np.uint16)[..., None]), (), "auto", inverted=False)
    if image.mode not in _CONVERTIBLE:
        raise ImageError(
            f"pixels of Pillow's mode {image.mode} have no conversion to 8-bit RGB", reason=reasons.UNSUPPORTED
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return _over_white(rgba, rgba)
    return image.convert("RGB") if image.mode != "RGB" else image


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation, 1 to 8."""
    return image.transpose(_TURN[orientation]) if orientation in _TURN else image


def pad_to(image: Image.Image, canvas: tuple[int, int]) -> Image.Image:
    """Centre an image on black."""
    if image.size == canvas:
        return image
    padded = Image.new("RGB", canvas)
    padded.paste(image, ((canvas[0] - image.width) // 2, (canvas[1] - image.height) // 2))
    return padded


def deep_to_rgb(deep: Deep, said: Sequence[int], mode: str, *, inverted: bool) -> Image.Image:
    """Return samples of 16 bits in mode RGB; `said` and `mode` as `depth.to_bytes` has them."""
    colours = to_bytes(deep.colours, said, mode)
    if inverted:
        colours = ~colours
    grey = colours.shape[-1] == 1
    image = Image.fromarray(colours[..., 0] if grey else colours).convert("RGB")
    visible = None
    if deep.alpha is not None:
        visible = to_bytes(deep.alpha, (), "full" if mode == "full" else "auto", quiet=True)
    elif deep.transparent is not None and len(deep.transparent) == colours.shape[-1]:
        visible = np.where((deep.colours == deep.transparent).all(-1), 0, 255).astype(np.uint8)
    return image if visible is None else _over_white(image, Image.fromarray(visible))


def _over_white(image: Image.Image, visible: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=visible)
    return canvas
