"""What a model expects of images, as its weights tell: size, colours, and the classes that it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from shardforge.errors import UsageError
from shardforge.loader.transforms import BatchTransform, CenterCrop
from shardforge.train.data.augment import RGB_STATISTICS, Colours, evaluation_transform


@dataclass(frozen=True)
class Preprocessing:
    """How images are made ready for a model, and how its answers are read.

    Attributes:
        size: side of the images in pixels.
        rgb_mode: a name of `RGB_STATISTICS`.
        classes: the names of the outputs, None where they are not known.
        crop: share of the short side that is kept, as for timm's published weights; None squashes the whole image, as
            training here evaluates.
    """

    size: int
    rgb_mode: str
    classes: tuple[str, ...] | None = None
    crop: float | None = None

    def transform(self) -> BatchTransform:
        """Return what makes pixels uint8 [3, size, size] of an image."""
        return evaluation_transform(self.size) if self.crop is None else CenterCrop(self.size, self.crop)

    def colours(self) -> Colours:
        """Return what normalises them."""
        return Colours(self.rgb_mode)

    def class_name(self, label: int) -> str:
        """Return what an output is called."""
        return str(label) if self.classes is None else self.classes[label]


def attach_preprocessing(model: Any, preprocessing: Preprocessing) -> None:
    """Let a model carry what it expects of images."""
    model.preprocessing = preprocessing


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """Return what `attach_preprocessing` left.

    Raises:
        UsageError: the model is of other origin.
    """
    found: Any = getattr(model, "preprocessing", None)
    if not isinstance(found, Preprocessing):
        raise UsageError(
            f"this {type(model).__name__} does not tell what images it expects: get it from shardforge.train.use."
            "get_model, or call attach_preprocessing on it"
        )
    return found


def find_rgb_mode(mean: tuple[float, ...], deviation: tuple[float, ...], name: str) -> str:
    """Return the mode with these statistics.

    Raises:
        UsageError: no mode has them.
    """
    for mode, statistics in RGB_STATISTICS.items():
        if statistics == (tuple(mean), tuple(deviation)):
            return mode
    raise UsageError(f"{name}: its colours have mean {mean} and deviation {deviation}, no known --rgb-mode; give one")
