"""A file for its decoder: what is not pixels is taken out, and what would cost too much is refused."""

from __future__ import annotations

from dataclasses import dataclass

from shardforge.images.containers.base import Header
from shardforge.images.containers.bmp import check_bmp
from shardforge.images.containers.gif import strip_gif
from shardforge.images.containers.jpeg import check_scans, strip_jpeg
from shardforge.images.containers.png import strip_png
from shardforge.images.containers.pnm import strip_pnm
from shardforge.images.containers.tiff import strip_tiff
from shardforge.images.containers.webp import strip_webp


@dataclass(frozen=True, slots=True)
class Stored:
    """What a decoder gets of a file.

    Attributes:
        data: a file of the same format.
        plain: whether the file held one image of 8 bits per sample, as far as it is known without decoding it.
        planes: grey files of the planes that it consists of, where it does and they have 16 bits.
        inverted: whether its largest 16-bit sample is black.
    """

    data: bytes
    plain: bool = False
    planes: tuple[bytes, ...] = ()
    inverted: bool = False


def prepare(data: bytes, header: Header) -> Stored:
    """Return a file that holds the first image's pixels and what is needed to decode them.

    Raises:
        ImageError: truncated, corrupt or too_costly.
    """
    match header.format:
        case "jpeg":
            check_scans(data, header)
            return Stored(strip_jpeg(data), plain=True)  # readers of JPEG do not see what follows the first image
        case "png":
            png = strip_png(data)
            return Stored(png.data, plain=png.bits == 8 and not png.animated)
        case "webp":
            webp = strip_webp(data)
            return Stored(webp.data, plain=not webp.animated)
        case "tiff":
            tiff = strip_tiff(data)
            return Stored(tiff.data, planes=tiff.planes, inverted=tiff.inverted)
        case "gif":
            return Stored(strip_gif(data))
        case "ppm":
            return Stored(strip_pnm(data))
        case "bmp":
            check_bmp(data, header)
    return Stored(data)
