"""The codec that needs Pillow alone: decode any format, resize, encode."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, features
from PIL.ImageFile import ImageFile

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.colour import CMYK, Colours, find_colours
from shardforge.images.containers.base import Header
from shardforge.images.containers.pnm import decode_pnm
from shardforge.images.geometry import Box, Geometry, Size, whole_box
from shardforge.images.opened import find_kind
from shardforge.images.pillow import explaining_errors, open_avif, open_image
from shardforge.images.pixels import deep_to_rgb, to_rgb
from shardforge.images.samples import Deep, read_deep, read_planes
from shardforge.images.stored import Stored, prepare

_ENCODER: dict[str, tuple[str, dict[str, Any]]] = {
    "jpg": ("JPEG", {"subsampling": "4:2:0"}),
    "png": ("PNG", {"compress_level": 6}),
    "webp": ("WEBP", {"method": 4}),
}
_LONGEST_SIDE = {"jpg": 65_500, "png": 2**31 - 1, "webp": 16_383}


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded image.

    Attributes:
        image: mode RGB, as stored (not yet upright), without metadata.
        scale: 1, 2, 4 or 8 stored pixels for one pixel of `image` along each axis.
        native: the file holds one image of 8-bit RGB, so nothing was converted.
        colours: what a profile says of its colours, to be applied to the resized image; None where there is nothing to
            apply.
    """

    image: Image.Image
    scale: int
    native: bool
    colours: Colours | None = None

    @property
    def in_srgb(self) -> bool:
        """Whether its colours are sRGB."""
        return self.colours is None or self.colours.transform is None

    def to_srgb(self, resized: Image.Image) -> Image.Image:
        """Return what was made of `image` with its colours brought to sRGB: the same one where they are."""
        return resized if self.colours is None else self.colours.to_srgb(resized)


class PillowCodec:
    """Decode, resize and encode with Pillow. Has no state; any number of threads may share one."""

    name = "pillow"

    def versions(self) -> dict[str, str]:
        """Return the versions of every library that can change an output byte."""
        libraries = ("pil", "libjpeg_turbo", "zlib", "webp", "littlecms2")
        return {library.replace("pil", "pillow"): str(features.version(library)) for library in libraries}

    def decode(
        self, data: bytes, header: Header, scale: int = 1, *, draft: bool = False, sixteen_bit: str = "auto"
    ) -> Frame:
        """Decode the first frame to RGB, a JPEG at 1/`scale` of its size; all of the data is decoded in any case.

        With `draft`, colours may be upsampled in the plainest way; `sixteen_bit` is one of `SIXTEEN_BIT_MODES`. The
        frame may share memory with the next one that this thread decodes: use it first.

        Raises:
            ImageError: truncated, corrupt, unsupported, too_costly or out_of_memory.
        """
        with explaining_errors(header.format):
            if header.format == "ppm" and (samples := decode_pnm(data, header)) is not None:
                image = deep_to_rgb(Deep(samples), header.bits, sixteen_bit, inverted=False)
                return Frame(image, 1, False)
            stored = prepare(data, header)
            opened = open_avif(data) if header.format == "avif" else open_image(stored.data, header.format)
            with opened as image:
                if image.size != (header.width, header.height):
                    raise ImageError(f"{image.size} pixels, but the header says {header.width} x {header.height}")
                return self._load(image, stored, header, scale, sixteen_bit)

    def _load(self, image: ImageFile, stored: Stored, header: Header, scale: int, sixteen_bit: str) -> Frame:
        if header.format == "jpeg":
            image.draft(None, (max(1, header.width // scale), max(1, header.height // scale)))
        kind = find_kind(image, header.format)
        if stored.planes:
            deep: Deep | None = read_planes(stored.planes)
        else:
            deep = read_deep(image, stored.data, header.format, header.bits, sixteen_bit)
        if deep is None:
            image.load()
        colours = find_colours(header, kind)
        if deep is not None:
            rgb = deep_to_rgb(deep, header.bits, sixteen_bit, inverted=stored.inverted)
        elif kind == CMYK and colours is not None:
            rgb, colours = colours.to_srgb(image), None
        else:
            rgb = to_rgb(image)
        native = stored.plain and rgb is image
        rgb.info = {}  # Pillow's encoders would write some of it
        return Frame(rgb, scale if header.format == "jpeg" else 1, native, colours)

    def resize(self, frame: Frame, geometry: Geometry) -> Image.Image:
        """Resize with an antialiased Catmull-Rom filter; `geometry` counts in stored pixels."""
        left, top, right, bottom = (edge / frame.scale for edge in geometry.box)
        box = (left, top, right, bottom)
        if geometry.size == frame.image.size and box == whole_box(frame.image.size):
            return frame.image
        return self._resample(frame.image, geometry.size, box)

    def encode(self, image: Image.Image, format: str, quality: int, profile: bytes | None = None) -> bytes:
        """Encode as jpg (baseline, 4:2:0), png (level 6; `quality` has no meaning) or webp (lossy, method 4).

        A profile of the pixels' colours is embedded.

        Raises:
            ImageError: unsupported, when the format cannot hold so many pixels in a row.
        """
        if max(image.size) > _LONGEST_SIDE[format]:
            raise ImageError(f"{max(image.size)} pixels are too long a side for {format}", reason=reasons.UNSUPPORTED)
        return self._encode(image, format, quality, profile)

    def _encode(self, image: Image.Image, format: str, quality: int, profile: bytes | None) -> bytes:
        encoder, settings = _ENCODER[format]
        output = io.BytesIO()
        image.save(output, encoder, quality=quality, icc_profile=profile, **settings)
        return output.getvalue()

    def _resample(self, image: Image.Image, size: Size, box: Box) -> Image.Image:
        return image.resize(size, Image.Resampling.BICUBIC, box)
