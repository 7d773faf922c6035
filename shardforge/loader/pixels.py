"""Image members to pixels: decode what a box needs, resize, mirror, and lay the planes into a batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from shardforge.errors import ImageError
from shardforge.images.convert import choose_codec, open_codec, read_bounded_header
from shardforge.images.geometry import Box, Geometry, Size
from shardforge.images.header import Header
from shardforge.images.pixels import turn_upright
from shardforge.loader.randomness import UInt64Array
from shardforge.loader.transforms import BatchTransform

Pixels = npt.NDArray[np.uint8]
#: Shape [3, height, width]; the lowest byte of a value is what counts.
Colours = npt.NDArray[np.uint8 | np.uint32]

_codec = open_codec(choose_codec("auto"))


def decode_image(data: bytes) -> Image.Image:
    """Return an image, upright, in sRGB (mode RGB) and with memory of its own.

    Raises:
        ImageError: it cannot be decoded; `reason` says why.
    """
    header = read_bounded_header(data)
    frame = _codec.decode(data, header)
    return turn_upright(frame.to_srgb(frame.image), header.orientation).copy()


class Normalise(NamedTuple):
    """Subtracts `mean` and divides by `std`, both a number for each colour, of values between 0 and 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Resizer(threading.local):
    """Makes pixels of one width and height; what it works with belongs to the thread and serves for every image."""

    def __init__(self, size: Size, normalise: Normalise | None) -> None:
        self.size = size
        width, height = size
        if normalise is not None:
            mean, std = np.array(normalise, np.float64)[..., None, None]
            self._factor, self._shift = (1 / (255 * std)).astype(np.float32), (mean / std).astype(np.float32)
            self._bytes = np.empty((3, height, width), np.uint8)
        self._normalises = normalise is not None

    def resize(self, data: bytes, header: Header, box: Box, flip: bool, out: npt.NDArray[Any]) -> None:
        """Decode an image and write the pixels of `box`, made upright, into `out`: shape [3, height, width].

        A JPEG is decoded at 1/2, 1/4 or 1/8 where the box still has two pixels for each one that is made. The resize is
        bilinear and antialiased; what comes of it is brought to sRGB.

        Raises:
            ImageError: the image cannot be decoded; `reason` says why.
        """
        scale = Geometry(box, self.size, self.size).decoder_scale()
        frame = _codec.decode(data, header, scale)
        image = turn_upright(frame.image, header.orientation)
        left, top, right, bottom = (edge / frame.scale for edge in box)
        resized = self._resample(image, (left, top, right, bottom))
        planes = self._split(frame.to_srgb(resized), flip)
        if self._normalises:
            self._bytes[...] = planes
            np.multiply(self._bytes, self._factor, out=out)
            out -= self._shift
        else:
            out[...] = planes

    def _resample(self, image: Image.Image, box: Box) -> Image.Image:
        """Return the resized box, valid until the next call."""
        return image.resize(self.size, Image.Resampling.BILINEAR, box)

    def _split(self, resized: Image.Image, flip: bool) -> Colours:
        """Return the colours of a resized image, mirrored where `flip` is, valid until the next call."""
        pixels = np.asarray(resized)
        return np.moveaxis(pixels[:, ::-1] if flip else pixels, -1, 0)


class FastResizer(Resizer):
    """The same with a vectorised resize that runs without the interpreter lock."""

    def __init__(self, size: Size, normalise: Normalise | None) -> None:
        super().__init__(size, normalise)
        from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions
        from cykooz_resizer import Resizer as Cykooz  # not on every platform

        self._cykooz = Cykooz()
        self._options = ResizeOptions(ResizeAlg.convolution(FilterType.bilinear))
        self._make_box = CropBox
        memory, self._colours = _allocate(size)
        shared = pa.Array.from_buffers(pa.uint8(), memory.size, [None, pa.py_buffer(memory)])
        self._resized = Image.fromarrow(shared, "RGB", size)
        self._mirrored = _allocate(size)[1]

    def _resample(self, image: Image.Image, box: Box) -> Image.Image:
        left, top, right, bottom = box
        self._options.crop_box = self._make_box(left, top, right - left, bottom - top)
        self._cykooz.resize_pil(image, self._resized, self._options)
        return self._resized

    def _split(self, resized: Image.Image, flip: bool) -> Colours:
        if resized is not self._resized:
            return super()._split(resized, flip)
        if flip:
            self._mirrored[0] = self._colours[0, :, ::-1]
        return self._mirrored if flip else self._colours


def _allocate(size: Size) -> tuple[Pixels, Colours]:
    """Return memory for an image as Pillow keeps it, four bytes a pixel, and its colours.

    A colour is words that begin with its bytes: numpy cuts bytes out of words four times as fast as it picks every
    fourth byte.
    """
    width, height = size
    memory = np.zeros(4 * width * height + 2, np.uint8)  # the last words of two colours end behind the image
    colours = np.ndarray((3, height, width), "<u4", memory.data, strides=(1, 4 * width, 4))
    return memory[:-2], colours


def open_resizer(size: Size, normalise: Normalise | None = None) -> Resizer:
    """Return the fastest resizer to this width and height whose libraries are installed."""
    return FastResizer(size, normalise) if _codec.name == "fast" else Resizer(size, normalise)


def transform_images(
    images: Sequence[bytes], transform: BatchTransform, draws: UInt64Array, resizer: Resizer, out: npt.NDArray[Any]
) -> dict[int, ImageError]:
    """Write the transformed images into `out`, shape [n, 3, height, width]; return what those that failed raised."""
    failed: dict[int, ImageError] = {}
    headers: list[Header | None] = []
    for place, data in enumerate(images):
        try:
            headers.append(read_bounded_header(data))
        except ImageError as error:
            failed[place] = error
            headers.append(None)
    sizes = np.array([_upright_size(header) for header in headers], np.int64)
    boxes, flips = transform.plan(sizes[:, 0], sizes[:, 1], draws)
    for place, (data, header, box, flip) in enumerate(
        zip(images, headers, boxes.tolist(), flips.tolist(), strict=True)
    ):
        try:
            if header is not None:
                resizer.resize(data, header, box, flip, out[place])
        except ImageError as error:
            failed[place] = error
    return failed


def _upright_size(header: Header | None) -> Size:
    if header is None:
        return 1, 1
    return (header.height, header.width) if header.swaps_axes else (header.width, header.height)
