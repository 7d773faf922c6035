"""What all methods share: the mask they draw, the result they return, and who is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.train.masking import Mask, count_visible, draw_mask, spread, unit_patches


class MIMOutput(NamedTuple):
    """What a step of a method returns.

    Attributes:
        loss: float32 scalar.
        prediction: what the method predicts; its shape is the method's.
        target: what it should have predicted, of the same shape.
        mask: the mask that was used, on the method's mask grid.
    """

    loss: Tensor
    prediction: Tensor
    target: Tensor
    mask: Mask


class Method(nn.Module, ABC):
    """A way of learning from hidden patches; a module with the encoder in it.

    Attributes:
        encoder: the timm model that is trained; its weights are the result.
        grid: rows and columns of the mask grid.
        patch: side of a cell of that grid in pixels.
        default_size: side of the images in the recipe.
        default_mask_ratio: share of the patches that the recipe hides.
        encoder_settings: arguments that the encoder must be built with.
        family: the file of timm whose models alone have these arguments, None where there are none.
    """

    default_size: ClassVar[int] = 224
    default_mask_ratio: ClassVar[float] = 0.75
    encoder_settings: ClassVar[dict[str, Any]] = {}
    family: ClassVar[str | None] = None

    def __init__(
        self,
        encoder: nn.Module,
        *,
        size: tuple[int, int],
        grid: tuple[int, int],
        patch: int,
        mask_ratio: float | None,
        min_mask_size: int,
    ) -> None:
        super().__init__()
        if (grid[0] * patch, grid[1] * patch) != size:
            raise UsageError(
                f"The mask of {type(self).__name__} covers {grid[0]} x {grid[1]} patches of {patch} pixels, which do "
                f"not fill images of {size[0]} x {size[1]}: choose a --size that is a multiple of {patch}."
            )
        self.encoder = encoder
        self.grid = grid
        self.patch = patch
        self.mask_ratio = self.default_mask_ratio if mask_ratio is None else mask_ratio
        self.mask_unit = min_mask_size
        count_visible(len(unit_patches(grid, min_mask_size)), self.mask_ratio)
        freeze(encoder, "head", "attn_pool", "fc_norm")

    def draw_mask(
        self, batch: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Mask:
        """Draw a mask for `batch` images; the generator must be of the same device."""
        return draw_mask(batch, self.grid, self.mask_ratio, unit=self.mask_unit, generator=generator, device=device)

    def forward(
        self, images: Tensor, *, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> MIMOutput:
        """Run one step.

        Args:
            images: float [B, 3, H, W], normalised.
            mask: None draws one.
            generator: where from.
        """
        if mask is None:
            mask = self.draw_mask(len(images), generator=generator, device=images.device)
        return self.run(images, mask)

    @abstractmethod
    def run(self, images: Tensor, mask: Mask) -> MIMOutput:
        """Run one step with this mask."""

    @abstractmethod
    def reconstruct(self, images: Tensor, output: MIMOutput) -> Tensor:
        """Return float32 [B, 3, H, W]: the images, normalised as they came, with hidden parts as predicted."""

    def hidden_pixels(self, mask: Mask, size: tuple[int, int]) -> Tensor:
        """Return bool [B, 1, H, W], True where a pixel is hidden."""
        return spread(mask.hidden, self.grid, size)[:, None]


def freeze(module: nn.Module, *names: str) -> None:
    """Freeze children that the method does not use; distributed training would wait for their gradients."""
    for name in names:
        child = getattr(module, name, None)
        if isinstance(child, nn.Module):
            child.requires_grad_(False)
