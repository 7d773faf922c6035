"""The transformer that turns visible tokens into predictions for all patches."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.train.encoders.positions import sincos_positions
from shardforge.train.masking import Mask

LayerNorm: Any = partial(nn.LayerNorm, eps=1e-6)

#: Channels of an attention head: 16 heads at the usual width of 512.
HEAD_WIDTH = 32


class TokenDecoder(nn.Module):
    """Fills hidden places with one learnt token, adds positions, and predicts.

    Args:
        encoder_width: size of the tokens that come in.
        outputs: size of a prediction.
        grid: rows and columns of patches.
        prefix: tokens before the patches; they have no position.
        width: size of the tokens inside; a multiple of 32.
        depth: number of blocks.
        learned_positions: positions are trained; otherwise fixed sine-cosine.
        drop_path: rate of the last block, growing from 0.
    """

    def __init__(
        self,
        encoder_width: int,
        outputs: int,
        grid: tuple[int, int],
        *,
        prefix: int = 0,
        width: int = 512,
        depth: int = 8,
        learned_positions: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.prefix = prefix
        heads = count_heads(width)
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        positions = sincos_positions(width, grid, prefix)
        self.positions = nn.Parameter(
            torch.zeros_like(positions) if learned_positions else positions, learned_positions
        )
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.Sequential(
            *(Block(width, heads, qkv_bias=True, norm_layer=LayerNorm, drop_path=rate) for rate in rates)
        )
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def initialise(self) -> None:
        """Draw fresh weights."""
        initialise_transformer(self)
        nn.init.normal_(self.mask_token, std=0.02)
        if self.positions.requires_grad:
            nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, tokens: Tensor, mask: Mask) -> Tensor:
        """Return [B, prefix + N, outputs] of the tokens [B, prefix + visible, encoder_width]."""
        tokens = self.embed(tokens)
        patches = fill_hidden(tokens[:, self.prefix :], self.mask_token, mask)
        tokens = torch.cat([tokens[:, : self.prefix], patches], dim=1) + self.positions
        predicted: Tensor = self.head(self.norm(self.blocks(tokens)))
        return predicted


def fill_hidden(visible: Tensor, token: Tensor, mask: Mask) -> Tensor:
    """Put visible tokens [B, visible, D] in their places among copies of `token`: [B, N, D]."""
    places = mask.kept[..., None].expand(-1, -1, visible.shape[2])
    hidden = token.to(visible.dtype).expand(*mask.order.shape, -1)
    return hidden.scatter(1, places, visible)


def count_heads(width: int) -> int:
    """Return the attention heads of a decoder.

    Raises:
        UsageError: the width is not a multiple of 32.
    """
    if width < HEAD_WIDTH or width % HEAD_WIDTH:
        raise UsageError(f"The width of a decoder must be a multiple of {HEAD_WIDTH}, not {width}.")
    return width // HEAD_WIDTH


def initialise_transformer(module: nn.Module) -> None:
    """Draw linear layers from Xavier's uniform distribution, and reset norms."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LayerNorm) and layer.elementwise_affine:
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def initialise_vit(encoder: Any) -> None:
    """Draw a vision transformer's weights as MAE does: the patch embedding as if it were a linear layer."""
    initialise_transformer(encoder)
    projection = encoder.patch_embed.proj.weight
    nn.init.xavier_uniform_(projection.view(len(projection), -1))
    for name in ("cls_token", "reg_token"):
        token = getattr(encoder, name, None)
        if isinstance(token, nn.Parameter):
            nn.init.normal_(token, std=0.02)
