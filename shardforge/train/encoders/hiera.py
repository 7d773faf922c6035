"""The masked forward pass of Hiera: whole mask units are dropped.

timm's own pass picks visible tokens by a boolean index, whose result has a size that only the data tells; this one
gathers them, so that `torch.compile` sees one graph, and keeps the order of `mask.kept`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from shardforge.train.masking import Mask


def encode_units(encoder: Any, images: Tensor, mask: Mask) -> list[Tensor]:
    """Run a timm `Hiera` on the visible mask units; hidden pixels are zero before the patch embedding.

    Args:
        encoder: the model.
        images: float [B, 3, H, W].
        mask: on the grid of mask units.

    Returns:
        The output of each stage, [B, visible, rows, columns, width], where a unit has rows x columns tokens.
    """
    shown = ~mask.hidden.reshape(-1, 1, *encoder.mask_spatial_shape)
    tokens = encoder.unroll(encoder._pos_embed(encoder.patch_embed(images, mask=shown)))
    # The number of a token's unit runs fastest.
    by_unit = tokens.reshape(len(images), encoder.mu_size, -1, tokens.shape[2])
    kept = mask.kept[:, None, :, None].expand(-1, encoder.mu_size, -1, tokens.shape[2])
    tokens = by_unit.gather(2, kept).flatten(1, 2)
    stages = []
    for number, block in enumerate(encoder.blocks):
        tokens = block(tokens)
        if number in encoder.stage_ends:
            stages.append(encoder.reroll(tokens, number, mask=mask.hidden))
    return stages
