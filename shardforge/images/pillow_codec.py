"""The codec that needs Pillow alone: decode any format, resize, encode."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, features
from PIL.ImageFile import ImageFile

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.geometry import Box, Geometry, Size, whole_box
from shardforge.images.header import Header
from shardforge.images.pillow import explaining_errors, open_image
from shardforge.images.pixels import to_rgb

_ENCODER: dict[str, tuple[str, dict[str, Any]]] = {
    "jpg": ("JPEG", {"subsampling": "4:2:0"}),
    "png": ("PNG", {"compress_level": 6}),
    "webp": ("WEBP", {"method": 4}),
}
_PNG_BIT_DEPTH = 24  # offset in the file, as IHDR comes first
_PNG_LAST_CHUNK = b"IEND\xae\x42\x60\x82"  # with its checksum; it has no content
_LONGEST_SIDE = {"jpg": 65_500, "png": 2**31 - 1, "webp": 16_383}


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded image.

    Attributes:
        image: mode RGB, as stored (not yet upright), without metadata.
        scale: 1, 2, 4 or 8 stored pixels for one pixel of `image` along each axis.
        native: the file holds one image of 8-bit RGB, so nothing was converted.
    """

    image: Image.Image
    scale: int
    native: bool


class PillowCodec:
    """Decode, resize and encode with Pillow. Has no state; any number of threads may share one."""

    name = "pillow"

    def versions(self) -> dict[str, str]:
        """Return the versions of every library that can change an output byte."""
        libraries = ("pil", "libjpeg_turbo", "zlib", "webp")
        return {library.replace("pil", "pillow"): str(features.version(library)) for library in libraries}

    def decode(self, data: bytes, header: Header, scale: int = 1, *, draft: bool = False) -> Frame:
        """Decode the first frame to RGB, a JPEG at 1/`scale` of its size; all of the data is decoded in any case.

        With `draft`, colours may be upsampled in the plainest way. The frame may share memory with the next one that
        this thread decodes: use it first.

        Raises:
            ImageError: truncated, corrupt or unsupported.
        """
        _refuse_cut_file(data, header.format)
        with explaining_errors(header.format), open_image(io.BytesIO(data), header.format) as image:
            if image.size != (header.width, header.height):
                raise ImageError(f"{image.size} pixels, but the header says {header.width} x {header.height}")
            if header.format == "jpeg":
                image.draft(None, (max(1, header.width // scale), max(1, header.height // scale)))
            else:
                scale = 1
            image.load()
            rgb = to_rgb(image)
            native = rgb is image and _is_single_8_bit(image, data)
            rgb.info = {}  # Pillow's encoders would write some of it
            return Frame(rgb, scale, native)

    def resize(self, frame: Frame, geometry: Geometry) -> Image.Image:
        """Resize with an antialiased Catmull-Rom filter; `geometry` counts in stored pixels."""
        left, top, right, bottom = (edge / frame.scale for edge in geometry.box)
        box = (left, top, right, bottom)
        if geometry.size == frame.image.size and box == whole_box(frame.image.size):
            return frame.image
        return self._resample(frame.image, geometry.size, box)

    def encode(self, image: Image.Image, format: str, quality: int) -> bytes:
        """Encode as jpg (baseline, 4:2:0), png (level 6; `quality` has no meaning) or webp (lossy, method 4).

        Raises:
            ImageError: unsupported, when the format cannot hold so many pixels in a row.
        """
        if max(image.size) > _LONGEST_SIDE[format]:
            raise ImageError(f"{max(image.size)} pixels are too long a side for {format}", reason=reasons.UNSUPPORTED)
        encoder, settings = _ENCODER[format]
        output = io.BytesIO()
        image.save(output, encoder, quality=quality, **settings)
        return output.getvalue()

    def _resample(self, image: Image.Image, size: Size, box: Box) -> Image.Image:
        return image.resize(size, Image.Resampling.BICUBIC, box)


def _is_single_8_bit(image: ImageFile, data: bytes) -> bool:
    """Whether a loaded RGB image of an output format is all that its file holds."""
    if image.format in ("JPEG", "MPO"):  # readers of JPEG do not see what follows the first picture
        return True
    if image.format not in ("PNG", "WEBP") or getattr(image, "n_frames", 1) > 1:
        return False
    return image.format == "WEBP" or data[_PNG_BIT_DEPTH] == 8


def _refuse_cut_file(data: bytes, format: str) -> None:
    """Refuse what Pillow would accept, a PNG without its last chunk, or would not name, a WebP that ends too early."""
    if format == "png":
        whole = data.rfind(_PNG_LAST_CHUNK) >= 0
    else:
        whole = format != "webp" or len(data) >= 8 + int.from_bytes(data[4:8], "little")
    if not whole:
        raise ImageError(f"the {format} ends too early", reason=reasons.TRUNCATED)
