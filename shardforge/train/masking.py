"""Which patches are hidden: one convention for every method.

A mask lives on a grid of patches, row by row. `hidden` is True where a patch is hidden, and every image of a batch
hides equally many, so that tensors keep one shape. `order` lists the patches of each image, the visible ones first; its
tail is as random as its head, so a method that predicts only some of the hidden patches takes them from the end.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from shardforge.errors import UsageError


class Mask(NamedTuple):
    """The hidden patches of a batch.

    Attributes:
        hidden: bool [B, N], True where the patch is hidden.
        order: int64 [B, N], the numbers of the patches, visible ones first.
        visible: how many patches each image shows.
    """

    hidden: Tensor
    order: Tensor
    visible: int

    @property
    def kept(self) -> Tensor:
        """Numbers of the visible patches, int64 [B, visible]."""
        return self.order[:, : self.visible]

    def to(self, device: torch.device | str) -> Mask:
        """Return the mask on a device."""
        return Mask(self.hidden.to(device), self.order.to(device), self.visible)

    def refine(self, grid: tuple[int, int], factor: int) -> Mask:
        """Return the same mask on `grid`, which has `factor` x `factor` patches for each patch of this mask."""
        patches = unit_patches(grid, factor).to(self.order.device)
        return mask_from_order(patches[self.order].flatten(1), self.visible * factor**2)


def count_visible(units: int, ratio: float) -> int:
    """Return how many of `units` stay visible, rounded down.

    Raises:
        UsageError: the ratio hides nothing or everything.
    """
    visible = int(units * (1 - ratio))
    if not 0 < visible < units:
        raise UsageError(
            f"--mask-ratio {ratio} of {units} mask units leaves {visible} visible, where at least one must be hidden "
            f"and one visible: choose another ratio, a larger --size or a smaller --min-mask-size."
        )
    return visible


def mask_from_order(order: Tensor, visible: int) -> Mask:
    """Make the mask that shows the first `visible` patches of `order`, int64 [B, N]."""
    hidden = torch.ones_like(order, dtype=torch.bool)
    return Mask(hidden.scatter(1, order[:, :visible], False), order, visible)


def mask_from_hidden(hidden: Tensor) -> Mask:
    """Make the mask of a bool [B, N]; the visible patches keep their order.

    Raises:
        UsageError: two images hide different numbers of patches.
    """
    counts = {int(count) for count in (~hidden).sum(dim=1)}
    if len(counts) != 1:
        raise UsageError(f"Every image of a batch must hide equally many patches, but these show {sorted(counts)}.")
    return Mask(hidden, torch.argsort(hidden.to(torch.uint8), dim=1, stable=True), counts.pop())


def mask_from_noise(noise: Tensor, ratio: float, grid: tuple[int, int], unit: int = 1) -> Mask:
    """Make a mask on `grid` (rows, columns) that shows the units of the lowest noise.

    Args:
        noise: [B, units], where a unit is a square of `unit` x `unit` patches.
        ratio: share of the units to hide.
        grid: patches in a column and in a row.
        unit: side of a unit in patches; divides both sides of the grid.
    """
    mask = mask_from_order(torch.argsort(noise, dim=1), count_visible(noise.shape[1], ratio))
    return mask if unit == 1 else mask.refine(grid, unit)


def draw_mask(
    batch: int,
    grid: tuple[int, int],
    ratio: float,
    *,
    unit: int = 1,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Mask:
    """Draw a mask for `batch` images; see `mask_from_noise`. The generator must be of the same device."""
    rows, columns = grid
    noise = torch.rand(batch, rows * columns // unit**2, generator=generator, device=device)
    return mask_from_noise(noise, ratio, grid, unit)


def unit_patches(grid: tuple[int, int], unit: int) -> Tensor:
    """Return int64 [units, unit * unit]: the patches of each unit, row by row.

    Raises:
        UsageError: the units do not fill the grid.
    """
    rows, columns = grid
    if unit < 1 or rows % unit or columns % unit:
        raise UsageError(
            f"--min-mask-size {unit} does not divide the {rows} x {columns} patches of an image: choose a divisor."
        )
    numbers = torch.arange(rows * columns).reshape(rows // unit, unit, columns // unit, unit)
    return numbers.permute(0, 2, 1, 3).reshape(-1, unit * unit)


def spread(hidden: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Enlarge bool [B, N] on `grid` to bool [B, height, width]; `size` is a multiple of the grid."""
    squares = hidden.reshape(-1, *grid)
    return squares.repeat_interleave(size[0] // grid[0], 1).repeat_interleave(size[1] // grid[1], 2)
