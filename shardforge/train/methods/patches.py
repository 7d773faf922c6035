"""Pixels of patches as targets."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from shardforge.train.masking import Mask
from shardforge.train.methods.base import Method, MIMOutput


class PatchLayout(NamedTuple):
    """How an image is cut into patches.

    Attributes:
        grid: rows and columns of patches.
        side: pixels of a side.
        channels_first: a patch lists its channels one after the other; otherwise its pixels, each with its channels.
    """

    grid: tuple[int, int]
    side: int
    channels_first: bool = False

    def cut(self, images: Tensor) -> Tensor:
        """Return the patches of float [B, 3, H, W] as [B, patches, side * side * 3]."""
        (rows, columns), side = self.grid, self.side
        cells = images.reshape(len(images), 3, rows, side, columns, side)
        order = (0, 2, 4, 1, 3, 5) if self.channels_first else (0, 2, 4, 3, 5, 1)
        return cells.permute(order).reshape(len(images), rows * columns, -1)

    def join(self, patches: Tensor) -> Tensor:
        """Undo `cut`."""
        (rows, columns), side = self.grid, self.side
        inner = (3, side, side) if self.channels_first else (side, side, 3)
        order = (0, 3, 1, 4, 2, 5) if self.channels_first else (0, 5, 1, 3, 2, 4)
        cells = patches.reshape(len(patches), rows, columns, *inner)
        return cells.permute(order).reshape(len(patches), 3, rows * side, columns * side)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each patch, [B, patches, 1]; the variance is the unbiased one."""
    return patches.mean(dim=-1, keepdim=True), (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()


def normalise_patches(patches: Tensor) -> Tensor:
    """Return each patch less its mean, over its standard deviation."""
    mean, deviation = patch_statistics(patches)
    return (patches - mean) / deviation


def masked_mean(values: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean of float [B, N] where `hidden`."""
    weights = hidden.to(values.dtype)
    return (values * weights).sum() / weights.sum()


class PixelMethod(Method):
    """A method that predicts all patches' pixels and learns from the hidden ones by their squared error.

    Attributes:
        layout: the patches of the prediction, which may be smaller than those of the mask.
        norm_pix: the target is each patch less its mean, over its standard deviation.
    """

    layout: PatchLayout
    norm_pix: bool

    @abstractmethod
    def predict(self, images: Tensor, mask: Mask) -> Tensor:
        """Return [B, patches of the layout, side * side * 3]."""

    def run(self, images: Tensor, mask: Mask) -> MIMOutput:
        """Predict, and compare in float32."""
        prediction = self.predict(images, mask).float()
        target = self.target(images)
        errors = (prediction - target).square().mean(dim=-1)
        return MIMOutput(masked_mean(errors, self.hidden_patches(mask)), prediction, target, mask)

    def target(self, images: Tensor) -> Tensor:
        """Return the patches to predict, float32."""
        patches = self.layout.cut(images.float())
        return normalise_patches(patches) if self.norm_pix else patches

    def hidden_patches(self, mask: Mask) -> Tensor:
        """Return bool [B, patches of the layout]."""
        return self.hidden_pixels(mask, self.layout.grid).flatten(1)

    def reconstruct(self, images: Tensor, output: MIMOutput) -> Tensor:
        """Paste the predicted patches over the hidden ones."""
        patches = self.layout.cut(images.float())
        predicted = output.prediction
        if self.norm_pix:
            mean, deviation = patch_statistics(patches)
            predicted = predicted * deviation + mean
        hidden = self.hidden_patches(output.mask)[..., None]
        return self.layout.join(torch.where(hidden, predicted, patches))
