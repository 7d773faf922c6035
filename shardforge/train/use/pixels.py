"""Images from wherever a person has them, as batches of pixels."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from shardforge import reasons
from shardforge.errors import ImageError, UsageError
from shardforge.images.pixels import to_rgb
from shardforge.loader.pixels import open_resizer, transform_images
from shardforge.loader.transforms import BatchTransform
from shardforge.paths import path_from_text, path_to_text
from shardforge.sources.listing import batched
from shardforge.train.data.files import FileDataset
from shardforge.train.recipe.settings import expand_home
from shardforge.train.use.arrays import image_from_array

Picture = str | Path | bytes | Image.Image | np.ndarray[Any, np.dtype[Any]]
_KINDS = (str, Path, bytes, Image.Image, np.ndarray)
_EXPECTED = "expected a path, the bytes of an image file, a PIL image, an array [height, width, 3], or several of these"


class NamedBatch(NamedTuple):
    """The paths of some images (a number for those that have none), and their pixels, uint8 [B, 3, H, W]."""

    names: list[str]
    images: Tensor


def read_pictures(pictures: Picture | Iterable[Picture], transform: BatchTransform, batch: int) -> Iterator[NamedBatch]:
    """Yield images in batches: a path, a folder with all below it, bytes of a file, a PIL image, an array (see
    `image_from_array`), or several of these, also as an array [N, H, W, C].

    Raises:
        UsageError: a path is not there, there is no image, or something else is none.
        ImageError: an image cannot be read; the message names it.
    """
    several = _list_pictures(pictures)
    resizer = open_resizer(transform.size)
    width, height = transform.size
    for found in batched(_name_all(several), batch):
        names = [name for name, _ in found]
        images = np.empty((len(found), 3, height, width), np.uint8)
        draws = np.zeros(len(found), np.uint64)
        contents = [_read(name, picture) for name, picture in found]
        for place, error in transform_images(contents, transform, draws, resizer, images).items():
            raise ImageError(f"{names[place]}: {error}", reason=error.reason)
        yield NamedBatch(names, torch.from_numpy(images))


def _list_pictures(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    if isinstance(pictures, np.ndarray) and pictures.ndim == 4:
        pictures = list(pictures)
    if isinstance(pictures, _KINDS):
        return [pictures]
    if isinstance(pictures, Mapping) or not isinstance(pictures, Iterable):
        raise UsageError(f"images: {_EXPECTED}, and not {type(pictures).__name__}")
    several = list(pictures)
    if not several:
        raise UsageError("no images: name at least one")
    for number, picture in enumerate(several):
        if not isinstance(picture, _KINDS):
            raise UsageError(f"image {number}: {_EXPECTED}, and not {type(picture).__name__}")
    return several


def _name_all(pictures: Iterable[Picture]) -> Iterator[tuple[str, Picture]]:
    """Yield each image with its name, folders as what they hold."""
    for number, picture in enumerate(pictures):
        if not isinstance(picture, str | Path):
            yield f"image {number}", picture
            continue
        path = expand_home(str(picture))
        if Path(path).is_dir():
            for name in FileDataset([path]).index.paths.to_pylist():
                yield name, name
        else:
            yield str(picture), path_to_text(path)


def _read(name: str, picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, np.ndarray):
        picture = image_from_array(picture, name)
    if isinstance(picture, Image.Image):
        stored = io.BytesIO()
        try:
            to_rgb(ImageOps.exif_transpose(picture)).save(stored, "PNG", compress_level=0)
        except (OSError, SyntaxError, ValueError) as error:  # of a file that Pillow reads only now, or without pixels
            raise ImageError(f"{name}: cannot be read ({error})") from error
        return stored.getvalue()
    try:
        with open(path_from_text(str(picture)), "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise UsageError(f"{name}: there is no such image; name a file or a folder") from error
    except OSError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror})", reason=reasons.UNREADABLE) from error
