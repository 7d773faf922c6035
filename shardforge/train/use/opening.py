"""From the options to a model and the images that it is applied to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from shardforge.errors import UsageError
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.transforms import BatchTransform
from shardforge.train.data.open import open_dataset
from shardforge.train.use.models import find_weights_file, get_model
from shardforge.train.use.settings import Applying


def open_model(settings: Applying, *, num_classes: int | None = None) -> nn.Module:
    """Return the model that the options name; the name of a network means the weights that timm has published for it.

    Raises:
        UsageError: there is none.
    """
    given: dict[str, Any] = {"num_classes": num_classes, "size": settings.size, "rgb_mode": settings.rgb_mode}
    if settings.network is not None:
        return get_model(settings.network, pretrained=settings.weights, **given)
    return get_model(settings.weights, pretrained=find_weights_file(settings.weights) is None, **given)


def open_images(settings: Applying, transform: BatchTransform, *, classes: Sequence[str] | None = None) -> ShardDataset:
    """Return the images that the options name; `classes` number the labels of image files.

    Raises:
        UsageError: nothing is there.
    """
    return open_dataset(
        settings.data_path,
        transform,
        info=settings.wds_info,
        shards=settings.wds,
        splits=settings.wds_split,
        class_file=settings.wds_class_file,
        classes=None if settings.wds_class_file else classes,
        trust=settings.trust,
    )


def number_labels(dataset: ShardDataset, classes: Sequence[str] | None, outputs: int) -> None:
    """Give the images of a dataset the labels that a model answers with, by the names of the classes.

    Where the model or the data have no names, labels are taken for the model's own numbers.

    Raises:
        UsageError: the data have a class that the model does not know.
    """
    highest = int(dataset.labels.max(initial=-1))
    if dataset.classes is not None and highest >= len(dataset.classes):
        raise UsageError(
            f"the data have a label {highest}, but the class file only {len(dataset.classes)} lines, from 0; give the "
            "file that the shards were written with"
        )
    if classes is not None and dataset.classes is not None and tuple(dataset.classes) != tuple(classes):
        numbers = {name: number for number, name in enumerate(classes)}
        used = np.unique(dataset.labels[dataset.labels >= 0]).tolist()
        if unknown := [dataset.classes[label] for label in used if dataset.classes[label] not in numbers]:
            raise UsageError(
                f"{len(unknown):,} classes of the data, {unknown[0]} the first, are not among the {len(classes):,} "
                "that the model was trained on; name data with its classes, or weights with these"
            )
        # One more at the end, for label -1 to find.
        new = np.array([*(numbers.get(name, -1) for name in dataset.classes), -1], np.int32)
        dataset.labels = new[dataset.labels]
    highest = int(dataset.labels.max(initial=-1))
    if highest >= outputs:
        raise UsageError(
            f"the data have a label {highest}, but the model only {outputs} classes, from 0; name data with its classes"
        )
