"""Colours of embedded ICC profiles to sRGB, through LittleCMS.

Relative colorimetric, without black-point compensation. A profile is taken for sRGB when it changes no colour by more
than two of 255 levels: the dozens of profiles by that name do so, by one at most in general, and no other in use comes
near. What has no profile is taken for sRGB, too, and with a note what has one that is broken, or of another kind of
colours than the image.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageCms

from shardforge.images.containers.base import Header
from shardforge.images.containers.png import read_profile
from shardforge.images.limits import MAX_PROFILE_BYTES
from shardforge.images.notes import add_note

#: What `--colour` may say.
COLOUR_MODES = ("srgb", "keep")

GREY, RGB, CMYK = "GRAY", "RGB ", "CMYK"  # as profiles name them (ICC.1, table 19)
_MODE = {GREY: "L", RGB: "RGB", CMYK: "CMYK"}

_HEADER_BYTES = 128
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")  # of devices and spaces, not links, names or effects
_CONNECTION_SPACES = (b"XYZ ", b"Lab ")
_INVISIBLE = 2
_STEP = 15


@dataclass(frozen=True)
class Colours:
    """The colours of an image that has a profile.

    Attributes:
        kind: GREY, RGB or CMYK.
        profile: the bytes of the profile.
        transform: what makes them sRGB; None where they are.
    """

    kind: str
    profile: bytes
    transform: ImageCms.ImageCmsTransform | None

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """Return an image in mode RGB; it has the mode of its kind, or is a grey one in mode RGB."""
        if self.transform is None:
            return image
        if self.kind == GREY and image.mode == "RGB":
            image = image.getchannel(0)
        converted = self.transform.apply(image)
        converted.info = {}
        return converted


def find_colours(header: Header, kind: str) -> Colours | None:
    """Return the colours that a header's profile tells for an image of this kind, None where there is none to use."""
    if header.profile is None:
        return None
    profile = read_profile(header.profile) if header.format == "png" else header.profile
    return open_profile(profile or b"", kind)


def open_profile(profile: bytes, kind: str) -> Colours | None:
    """Return the colours that a profile tells for an image of this kind, None where it cannot be used."""
    found = _open(profile, kind) if len(profile) <= MAX_PROFILE_BYTES else "is too long"
    if isinstance(found, Colours):
        return found
    add_note(f"the colour profile {found}: taken for sRGB")
    return None


@lru_cache(maxsize=16)
def _open(profile: bytes, kind: str) -> Colours | str:
    """Build what brings colours to sRGB, in some milliseconds, or say why that cannot be; threads share it."""
    device, colours, connection = (profile[at : at + 4] for at in (12, 16, 20))
    if len(profile) < _HEADER_BYTES or profile[36:40] != b"acsp":
        return "is damaged"
    if colours.decode("latin-1") != kind:
        return f"is one of {_printable(colours)} for an image of {kind.strip()}"
    if device not in _CLASSES or connection not in _CONNECTION_SPACES:
        return f"is of class {_printable(device)} to {_printable(connection)}"
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            _MODE[kind],
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.NONE,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "is damaged"
    return Colours(kind, profile, None if kind != CMYK and _is_invisible(transform) else transform)


def _printable(name: bytes) -> str:
    return name.decode("ascii", "replace").strip() or "none"


def _is_invisible(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform changes no colour by more than `_INVISIBLE`, of a grid with all greys."""
    probe = _probe()
    converted = transform.apply(probe if transform.input_mode == "RGB" else probe.getchannel(0))
    change = np.asarray(converted).astype(np.int16) - np.asarray(probe)
    return bool(np.abs(change).max() <= _INVISIBLE)


@cache
def _probe() -> Image.Image:
    """Return an image of all greys and, for RGB, 18 steps of each colour."""
    steps = np.arange(0, 256, _STEP, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, -1, 3)
    return Image.fromarray(np.concatenate([grid, greys], axis=1))
