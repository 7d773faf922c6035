"""Pixels of every kind to 8-bit RGB, and upright.

| stored | becomes |
|---|---|
| grey, 1 bit, palette, YCbCr | the same colours in RGB |
| CMYK, YCCK | RGB by Pillow's formula, Adobe's inverted values taken into account |
| 16 bits per colour | the upper 8 bits |
| alpha, or a transparent colour | composited over white |
| more than one frame or page | the first one |
| float, 32-bit integer, Lab, HSV | refused as unsupported |

Embedded ICC profiles are ignored: the numbers are taken for sRGB.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from shardforge import reasons
from shardforge.errors import ImageError

_CONVERTIBLE = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
_GREY_16_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_WHITE = 255

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
    if image.mode in _GREY_16_BIT:
        return _grey_16_bit_to_rgb(image)
    if image.mode not in _CONVERTIBLE:
        raise ImageError(
            f"pixels of Pillow's mode {image.mode} have no conversion to 8-bit RGB", reason=reasons.UNSUPPORTED
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(rgba, mask=rgba)
        return canvas
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


def _grey_16_bit_to_rgb(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = _WHITE
    return Image.fromarray(grey).convert("RGB")
