"""What is done to an image before a model sees it, by level as Birder has it, and how colours are normalised."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from shardforge.loader.dataset import Transform
from shardforge.loader.transforms import RandomResizedCrop, Squash
from shardforge.train.recipe.settings import Data

_RATIO = (3 / 4, 4 / 3)
#: Erased parts become grey.
_GREY = 127

#: Mean and standard deviation of colours between 0 and 1; `none` is no absence of them, but 0.5 each.
RGB_STATISTICS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "birder": ((0.5191, 0.5306, 0.4877), (0.2316, 0.2304, 0.2588)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "neutral": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "none": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "centered": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


class Colours(torch.nn.Module):
    """Normalises uint8 images [B, 3, H, W] on their device to float32, and back for pictures."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mode: str) -> None:
        super().__init__()
        mean, deviation = RGB_STATISTICS[mode]
        self.register_buffer("mean", 255 * torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", 255 * torch.tensor(deviation).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised images."""
        return (images.float() - self.mean) / self.deviation

    def undo(self, images: Tensor) -> Tensor:
        """Return uint8 images."""
        return (images.float() * self.deviation + self.mean).round().clamp(0, 255).to(torch.uint8)


def training_transform(settings: Data, size: int) -> Transform:
    """Return what `--aug-level` does to an image of the training data; the result is uint8 [3, size, size].

    Level 0 resizes. Level 1 crops and mirrors, in the loader's own fast path; the higher ones add two or more random
    operations, of growing strength.
    """
    level = settings.aug_level
    if level == 0:
        return Squash(size, size)
    least = settings.resize_min_scale if settings.resize_min_scale is not None else 0.8 - 0.05 * level
    erase = settings.re_prob if settings.re_prob is not None else max(0.25, -0.15 + 0.05 * level)
    if level == 1 and not erase:
        return RandomResizedCrop(size, (least, 1.0), _RATIO)
    return _Augmentation(size, level, least, erase)


def evaluation_transform(size: int) -> Squash:
    """Return what is done to an image of the validation data: all of it, resized."""
    return Squash(size, size)


class _Augmentation:
    """Crop, mirror, random operations and erasing; draws from torch's generator."""

    def __init__(self, size: int, level: int, least: float, erase: float) -> None:
        interpolations = (v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC)
        self._crops = [v2.RandomResizedCrop(size, (least, 1.0), _RATIO, mode) for mode in interpolations]
        self._mirror = v2.RandomHorizontalFlip()
        self._pool = _operations(level) if level > 1 else []
        self._most = max(2, (level + 1) // 2)
        self._erase = v2.RandomErasing(erase, scale=(0.02, 0.05 + 0.025 * level), value=_GREY)

    def __call__(self, image: Image.Image) -> Tensor:
        image = self._mirror(self._crops[_draw(2)](image))
        if self._pool:
            chosen = torch.randperm(len(self._pool))[: 2 + _draw(self._most - 1)]
            for number in chosen.tolist():
                image = self._pool[number](image)
        erased: Tensor = self._erase(functional.pil_to_tensor(image))
        return erased


def _operations(level: int) -> list[Any]:
    """Return the operations that a level draws from."""
    operations: list[Any] = [
        v2.RandomAffine(degrees=2.25 * level),
        v2.ColorJitter(brightness=0.2 + 0.0125 * level),
        v2.ColorJitter(contrast=0.05 + 0.025 * level, hue=max(0.0, -0.025 + 0.0125 * level)),
    ]
    if level >= 3:
        operations += [
            v2.ColorJitter(saturation=0.07 * level),
            v2.RandomAffine(degrees=0, translate=(0.02 * level, 0.02 * level)),
            v2.RandomAffine(degrees=0, shear=(-2.5 * level, 2.5 * level, 0, 0)),
            v2.RandomPosterize(9 - (level + 1) // 2, p=1.0),
            v2.GaussianBlur(kernel_size=(level + 1) // 4 * 2 + 1, sigma=(0.5, 1.2)),
            v2.RandomAutocontrast(p=1.0),
            v2.RandomAdjustSharpness(1 + 0.04 * level, p=1.0),
        ]
    if level >= 5:
        operations.append(v2.RandomSolarize(255 - 12 * level, p=1.0))
    return operations


def _draw(count: int) -> int:
    return int(torch.randint(count, ()))
