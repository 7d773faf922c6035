"""Images that a caller has opened with Pillow, as if they had been read from their files."""

from __future__ import annotations

from PIL import Image, ImageOps

from shardforge.images.colour import CMYK, GREY, RGB, open_profile
from shardforge.images.notes import joining_notes
from shardforge.images.pixels import to_rgb

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"})
_PALETTE_FORMATS = ("gif", "bmp")  # their grey images are palettes of greys


def find_kind(image: Image.Image, format: str) -> str:
    """Return which kind of profile fits the colours of an image of this format."""
    if image.mode == "CMYK":
        return CMYK
    return GREY if image.mode in _GREY_MODES and format not in _PALETTE_FORMATS else RGB


def bring_to_srgb(image: Image.Image) -> Image.Image:
    """Return an image upright, in mode RGB and sRGB, without metadata.

    Raises:
        ImageError: its pixels have no conversion.
    """
    kind = find_kind(image, (image.format or "").lower())
    upright = ImageOps.exif_transpose(image)
    with joining_notes():
        profile = image.info.get("icc_profile")
        colours = open_profile(profile, kind) if profile else None
        if colours is None:
            converted = to_rgb(upright)
        else:
            converted = colours.to_srgb(upright if kind == CMYK else to_rgb(upright))
    converted.info = {}
    return converted
