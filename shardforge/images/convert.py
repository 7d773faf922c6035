"""One image in, one image out: decode, resize, turn upright, pad, encode; or the same bytes where nothing changes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import import_module

from shardforge import reasons
from shardforge.errors import ImageError, UsageError
from shardforge.images.geometry import RESIZE_MODES, Geometry, Size, plan_resize
from shardforge.images.header import Header, read_whole_header
from shardforge.images.pillow_codec import PillowCodec
from shardforge.images.pixels import pad_to, turn_upright

#: Output formats: the suffix of members, and Pillow's name of the format.
FORMATS = {"jpg": "jpeg", "png": "png", "webp": "webp"}
CODECS = ("fast", "pillow")
#: Raised when this package converts an image to other bytes than before.
REVISION = "1"
DEFAULT_MAX_PIXELS = 200_000_000

_DRAFT_SHRINKAGE = 1.5  # from here on, what plain colour upsampling loses is gone after the resize
_CHECK_SCALE = 8  # all of a JPEG's data is read at any scale; at 1/8 the least arithmetic follows


@dataclass(frozen=True, slots=True)
class Conversion:
    """What to make of each image.

    Attributes:
        size: target width and height of the upright image; None keeps the size.
        resize: one of `RESIZE_MODES`.
        upscale: whether an axis may grow.
        format: one of `FORMATS`.
        quality: 1 to 100, of jpg and webp.
        max_pixels: larger images are refused before they are decoded.
        passthrough: return the input's bytes where format, size, orientation and pixels already are as asked.
        codec: one of `CODECS`.
    """

    size: Size | None = None
    resize: str = "squash"
    upscale: bool = False
    format: str = "jpg"
    quality: int = 90
    max_pixels: int = DEFAULT_MAX_PIXELS
    passthrough: bool = False
    codec: str = "fast"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("resize mode", self.resize, RESIZE_MODES),
            ("format", self.format, FORMATS),
            ("codec", self.codec, CODECS),
        ):
            if value not in known:
                raise UsageError(f"unknown {name} {value!r}; choose one of {', '.join(known)}")
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"the size {self.size[0]}x{self.size[1]} has no pixels; both sides must be at least 1")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"the quality is {self.quality}; it must lie between 1 and 100")


@dataclass(frozen=True, slots=True)
class Converted:
    """An encoded image: its bytes and its size in pixels as stored."""

    data: bytes
    width: int
    height: int


def convert_image(data: bytes, conversion: Conversion) -> Converted:
    """Convert an image; the bytes of the result are a function of the arguments and the codec's versions alone.

    May run in any number of threads.

    Raises:
        ImageError: `reason` says why the image cannot be used.
    """
    header = read_bounded_header(data, conversion.max_pixels)
    codec = open_codec(conversion.codec)
    stored_size = (header.width, header.height)
    upright_size = stored_size[::-1] if header.swaps_axes else stored_size
    geometry = plan_resize(upright_size, conversion.size, conversion.resize, upscale=conversion.upscale)
    unchanged = conversion.passthrough and _is_as_asked(header, geometry, conversion)
    if unchanged and codec.decode(data, header, _CHECK_SCALE).native:
        return Converted(data, *stored_size)
    stored = geometry.swap_axes() if header.swaps_axes else geometry
    draft = stored.shrinkage() >= _DRAFT_SHRINKAGE
    image = codec.resize(codec.decode(data, header, stored.decoder_scale(), draft=draft), stored)
    # On the small image: to turn a photo before it is resized costs more than the resize.
    image = pad_to(turn_upright(image, header.orientation), geometry.canvas)
    return Converted(codec.encode(image, conversion.format, conversion.quality), *image.size)


def check_image(data: bytes, codec: str, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Size:
    """Decode all of an image's data and return its width and height in stored pixels.

    Raises:
        ImageError: `reason` says why the image cannot be used.
    """
    header = read_bounded_header(data, max_pixels)
    open_codec(codec).decode(data, header, _CHECK_SCALE)
    return header.width, header.height


def read_bounded_header(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Header:
    """Read the header of a whole image.

    Raises:
        ImageError: it is damaged, or has more pixels than `max_pixels`.
    """
    header = read_whole_header(data)
    if header.width * header.height > max_pixels:
        raise ImageError(
            f"{header.width} x {header.height} pixels are more than {max_pixels:,}; raise --max-pixels to admit them",
            reason=reasons.TOO_MANY_PIXELS,
        )
    return header


def choose_codec(name: str) -> str:
    """Return the codec that `--codec` asks for; `auto` is `fast` where its libraries are installed.

    Raises:
        UsageError: the codec is unknown or not installed.
    """
    if name == "auto":
        return "pillow" if find_missing_library() else "fast"
    if name not in CODECS:
        raise UsageError(f"unknown codec {name!r}; choose one of auto, {', '.join(CODECS)}")
    if name == "fast" and (missing := find_missing_library()):
        raise UsageError(f"the codec fast cannot be used: {missing}; install it anew, or choose pillow")
    return name


def find_missing_library() -> str | None:
    """Return what the codec `fast` lacks of its libraries, None where it has all."""
    try:
        import_module("shardforge.images.fast_codec")
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except ImportError as error:  # an old release, or one for another system
        return f"its libraries do not load ({error})"
    return None


def codec_versions(codec: str) -> dict[str, str]:
    """Return the versions of all that may change output bytes: the libraries, and this package's own conversion."""
    return {"conversion": REVISION} | open_codec(codec).versions()


@functools.cache
def open_codec(name: str) -> PillowCodec:
    """Return the codec of a name in `CODECS`; all threads share it."""
    if name == "pillow":
        return PillowCodec()
    from shardforge.images.fast_codec import FastCodec  # its libraries are not on every platform

    return FastCodec()


def _is_as_asked(header: Header, geometry: Geometry, conversion: Conversion) -> bool:
    """Whether, as far as the header tells, nothing needs to change."""
    same_format = header.format == FORMATS[conversion.format]
    return same_format and header.orientation == 1 and not geometry.changes((header.width, header.height))
