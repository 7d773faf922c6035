"""Mixup and cutmix over a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2

from shardforge.train.recipe.settings import FinetuneSettings


class Mixer:
    """Leaves a batch as it is or mixes it by mixup or cutmix, each as likely as the others that are asked for."""

    def __init__(self, settings: FinetuneSettings, classes: int) -> None:
        self._classes = classes
        self._mixes: list[v2.Transform] = []
        if settings.mixup_alpha:
            self._mixes.append(v2.MixUp(alpha=settings.mixup_alpha, num_classes=classes))
        if settings.cutmix:
            self._mixes.append(v2.CutMix(alpha=1.0, num_classes=classes))

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return images float [B, 3, H, W] and their targets: int64 [B], or float [B, classes] where mixing is on."""
        if not self._mixes:
            return images, labels
        chosen = int(torch.randint(len(self._mixes) + 1, ()))
        if chosen == len(self._mixes):
            return images, torch.nn.functional.one_hot(labels, self._classes).to(images.dtype)
        mixed: tuple[Tensor, Tensor] = self._mixes[chosen](images, labels)
        return mixed
