"""Images to search for and among: stored as features, or given as images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image

from shardforge.errors import UsageError
from shardforge.files import sha256_file
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.members import IMAGE
from shardforge.loader.transforms import Squash
from shardforge.train.use.extractor import Extractor, FeaturesSettings
from shardforge.train.use.feature_files import FeatureFolder
from shardforge.train.use.models import find_weights_file
from shardforge.train.use.opening import open_images
from shardforge.train.use.pixels import read_pictures
from shardforge.train.use.sheet import SIDE


@dataclass(frozen=True)
class Examples:
    """Images as vectors.

    Attributes:
        keys: what each is called.
        labels: int64, the class of each, -1 for none.
        classes: the names of the classes, None where unknown.
        blocks: yields the vectors, float32 [up to `size`, width].
        picture: returns the image of a row, as the sheet shows it.
    """

    keys: pa.Array
    labels: npt.NDArray[np.int64]
    classes: Sequence[str] | None
    blocks: Callable[[int], Iterator[npt.NDArray[np.float32]]]
    picture: Callable[[int], Image.Image]

    def class_of(self, row: int) -> str | None:
        """Return what the class of an image is called."""
        label = int(self.labels[row])
        return None if label < 0 else str(label) if self.classes is None else self.classes[label]


def stored_examples(folder: FeatureFolder) -> Examples:
    """Return the images of a folder of features; the images themselves are read where they were extracted from."""

    @cache
    def open_data() -> ShardDataset:
        return open_images(read_settings(folder), Squash(SIDE, SIDE))

    def picture(row: int) -> Image.Image:
        sample = folder.rows["sample"][row].as_py()
        data = open_data().read_columns(np.array([sample]), [IMAGE])[IMAGE][0]
        return _as_image(open_data().decode_value(sample, IMAGE, data))

    return Examples(folder.rows["key"], folder.labels, folder.about["classes"], folder.blocks, picture)


def given_examples(paths: Sequence[str], extract: Extractor, batch: int) -> Examples:
    """Return images that paths and folders name, their vectors made now; they have no labels."""
    names: list[str] = []
    vectors: list[torch.Tensor] = []
    for found in read_pictures(paths, extract.expected.transform(), batch):
        names += found.names
        vectors.append(extract(found.images))
    every = torch.cat(vectors).numpy()

    def picture(row: int) -> Image.Image:
        return _as_image(next(read_pictures(names[row], Squash(SIDE, SIDE), 1)).images[0].numpy())

    return Examples(
        pa.array(names, pa.string()),
        np.full(len(names), -1, np.int64),
        None,
        lambda size: (every[first : first + size] for first in range(0, len(every), size)),
        picture,
    )


def read_settings(folder: FeatureFolder) -> FeaturesSettings:
    """Return the options that features were extracted with."""
    stored: dict[str, Any] = folder.about["settings"]
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    return FeaturesSettings(**given)


def open_extractor(folder: FeatureFolder, weights: str | None, device: torch.device) -> Extractor:
    """Return what made the features in a folder, to make more of the same; `weights` is where its file is now.

    Raises:
        UsageError: the weights are not there, or are others.
    """
    settings = read_settings(folder)
    settings = replace(settings, weights=weights or settings.weights)
    file, made_with = find_weights_file(settings.weights), folder.about["weights_sha256"]
    if file is not None and not file.exists():
        raise UsageError(f"{file}: the weights that made {folder.path} are not here; say where they are with --weights")
    if (file and sha256_file(file)) != made_with:
        raise UsageError(
            f"{settings.weights}: not the weights that made {folder.path}, so vectors cannot be compared; name those "
            "with --weights, or extract the features again"
        )
    return Extractor(settings, device)


def _as_image(pixels: Any) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(np.asarray(pixels).transpose(1, 2, 0)))
