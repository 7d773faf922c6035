"""Fixed sine-cosine position embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sincos_positions(width: int, grid: tuple[int, int], prefix: int = 0) -> Tensor:
    """Return float32 [1, prefix + rows * columns, width], the first `prefix` rows zero.

    The first half of the width encodes the column, the second half the row; sines come before cosines, as in MAE.
    """
    rows, columns = grid
    frequencies = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    row, column = torch.meshgrid(
        torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64), indexing="ij"
    )
    angles = [axis.reshape(-1, 1) * frequencies for axis in (column, row)]
    patches = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)
    return torch.cat([patches.new_zeros(prefix, width), patches])[None].float()


def fix_positions(encoder: nn.Module) -> None:
    """Set a vision transformer's position embedding to sine-cosine and freeze it; does nothing where there is none.

    Class and register tokens that have a position of their own get zero.
    """
    positions = getattr(encoder, "pos_embed", None)
    if not isinstance(positions, nn.Parameter) or positions.dim() != 3:
        return
    grid: tuple[int, int] = encoder.patch_embed.grid_size  # type: ignore[union-attr,assignment]
    prefix = positions.shape[1] - grid[0] * grid[1]
    with torch.no_grad():
        positions.copy_(sincos_positions(positions.shape[2], grid, prefix))
    positions.requires_grad_(False)
