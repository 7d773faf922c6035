"""Fully convolutional masked autoencoder (Woo et al. 2023, arXiv:2301.00808): convolutions on the visible part.

Mask units are 32 pixels, the stride of the encoder; hidden pixels never reach its features (see
`shardforge.train.encoders.sparse`). The decoder replaces hidden features by a learnt token, runs one ConvNeXt V2 block
of 512 channels, and predicts the pixels of each unit, normalised within it (`fcmae_raw` predicts them as they are).

Differences from the reference:
- Dense computation, with zeros for hidden places, instead of sparse tensors: the same at visible places.
- The global response norm acts within each image, as the paper says and as in fine-tuning. The reference's sparse norm
  acts on all visible places of the batch at once.
- The encoder keeps timm's initial weights (deviation 0.02); the reference draws some of its layers with deviation 1.
- RegNet works too: squeeze-and-excitation and batch norm take visible places only.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from shardforge.train.encoders.sparse import check_blindness, make_sparse
from shardforge.train.masking import Mask
from shardforge.train.methods.patches import PatchLayout, PixelMethod

#: Side of a mask unit in pixels.
UNIT = 32


class FCMAE(PixelMethod):
    """Masked autoencoder on a convolutional network; arguments are those of `MAE`."""

    default_mask_ratio: ClassVar[float] = 0.6

    def __init__(
        self,
        encoder: nn.Module,
        *,
        size: tuple[int, int],
        mask_ratio: float | None = None,
        min_mask_size: int = 1,
        norm_pix: bool = True,
        width: int = 512,
        depth: int = 1,
    ) -> None:
        grid = (size[0] // UNIT, size[1] // UNIT)
        super().__init__(encoder, size=size, grid=grid, patch=UNIT, mask_ratio=mask_ratio, min_mask_size=min_mask_size)
        self.norm_pix = norm_pix
        self.layout = PatchLayout(grid, UNIT)
        self.places = make_sparse(encoder, grid)
        check_blindness(encoder, self.places, grid, size)
        self.proj = nn.Conv2d(encoder.num_features, width, 1)  # type: ignore[arg-type]
        self.mask_token = nn.Parameter(torch.randn(width, 1, 1) * 0.02)
        block = partial(ConvNeXtBlock, width, use_grn=True, ls_init_value=None)
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))
        self.head = nn.Conv2d(width, UNIT**2 * 3, 1)
        for module in (self.proj, self.blocks, self.head):
            module.apply(_initialise)

    def predict(self, images: Tensor, mask: Mask) -> Tensor:
        """Return the pixels of all units, [B, N, 32 * 32 * 3]."""
        features = self.proj(self.encode(images, mask))
        hidden = self.hidden_pixels(mask, self.grid)
        filled = torch.where(hidden, self.mask_token.to(features.dtype), features)
        return self.head(self.blocks(filled)).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]

    def encode(self, images: Tensor, mask: Mask) -> Tensor:
        """Return the encoder's features, [B, C, rows, columns], which mean nothing at hidden places."""
        with self.places.using(mask):
            return self.encoder.forward_features(images)  # type: ignore[operator,no-any-return]


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
