"""The codec for millions of JPEGs: libjpeg-turbo through simplejpeg, and a SIMD resizer.

JPEGs are decoded as four bytes a pixel into a buffer that the thread keeps, and the resizer reads them there: for
photos of some megapixels, page faults and copies of the frame would cost more than the resize itself. All of it runs
without the interpreter lock.
"""

from __future__ import annotations

import threading
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import simplejpeg
from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

from shardforge.images.colour import GREY, RGB, find_colours
from shardforge.images.containers.base import Header
from shardforge.images.containers.jpeg import check_scans, embed_profile
from shardforge.images.geometry import Box, Size
from shardforge.images.limits import refuse_memory
from shardforge.images.pillow_codec import Frame, PillowCodec

_BYTES_PER_PIXEL = 4
_KEPT_BYTES = 64 << 20  # larger frames, above 16 megapixels, are rare: their memory goes back
_RGB_COLOURS = ("YCbCr", "RGB")
_CATMULL_ROM = ResizeAlg.convolution(FilterType.catmull_rom)


class _Workspace(threading.local):
    """What each thread has for itself."""

    def __init__(self) -> None:
        self.resizer = Resizer()
        self._memory = np.empty(0, np.uint8)

    def memory(self, size: int) -> npt.NDArray[np.uint8]:
        """Return `size` bytes, the same ones at each call where they suffice."""
        if size > _KEPT_BYTES:
            return np.empty(size, np.uint8)
        if size > self._memory.size:
            self._memory = np.empty(size, np.uint8)
        return self._memory[:size]


class FastCodec(PillowCodec):
    """JPEG through simplejpeg, resize through cykooz.resizer, the rest through Pillow; to be shared by threads."""

    name = "fast"

    def __init__(self) -> None:
        self._own = _Workspace()

    def versions(self) -> dict[str, str]:
        """Return the versions of every library that can change an output byte."""
        return super().versions() | {name: version(name) for name in ("simplejpeg", "cykooz.resizer")}

    def decode(
        self, data: bytes, header: Header, scale: int = 1, *, draft: bool = False, sixteen_bit: str = "auto"
    ) -> Frame:
        """Decode as Pillow does; whatever libjpeg complains about, or has no RGB for, is left to Pillow's judgement."""
        frame = self._decode_jpeg(data, header, scale, draft) if header.format == "jpeg" else None
        return frame or super().decode(data, header, scale, sixteen_bit=sixteen_bit)

    def _encode(self, image: Image.Image, format: str, quality: int, profile: bytes | None) -> bytes:
        if format != "jpg":
            return super()._encode(image, format, quality, profile)
        pixels = np.frombuffer(image.tobytes("raw", "RGBX"), np.uint8)
        shaped = pixels.reshape(image.height, image.width, _BYTES_PER_PIXEL)
        encoded: bytes = simplejpeg.encode_jpeg(shaped, quality, "RGBX", "420")
        return encoded if profile is None else embed_profile(encoded, profile)

    def _decode_jpeg(self, data: bytes, header: Header, scale: int, draft: bool) -> Frame | None:
        width, height = -(-header.width // scale), -(-header.height // scale)  # libjpeg rounds up
        check_scans(data, header)
        try:
            stored_height, stored_width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if (stored_width, stored_height) != (header.width, header.height) or colours not in (*_RGB_COLOURS, "Gray"):
                return None
            memory = self._own.memory(width * height * _BYTES_PER_PIXEL)
            simplejpeg.decode_jpeg(data, "RGBX", fastupsample=draft, min_height=height, min_width=width, buffer=memory)
        except MemoryError as error:
            raise refuse_memory("jpeg") from error
        except Exception:  # whatever libjpeg says of it: Pillow is asked next, and judges
            return None
        shared = pa.Array.from_buffers(pa.uint8(), memory.size, [None, pa.py_buffer(memory)])
        kind = RGB if colours in _RGB_COLOURS else GREY
        image = Image.fromarrow(shared, "RGB", (width, height))
        return Frame(image, scale, kind == RGB, None if header.profile is None else find_colours(header, kind))

    def _resample(self, image: Image.Image, size: Size, box: Box) -> Image.Image:
        left, top, right, bottom = box
        options = ResizeOptions(_CATMULL_ROM)
        options.crop_box = CropBox(left, top, right - left, bottom - top)
        resized = Image.new("RGB", size)
        self._own.resizer.resize_pil(image, resized, options)
        return resized
