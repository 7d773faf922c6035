"""SimMIM (Xie et al. 2021, arXiv:2111.09886): a learnt token for what is hidden, one layer for pixels.

The encoder runs on all of the image. Mask units are 32 pixels. The token replaces features after the stem (the patch
embedding) and before positions are added; a 1 x 1 convolution predicts the pixels, as they are, under each feature; the
loss is the mean absolute error of hidden pixels.

Differences from the reference:
- Any network that is a chain of stem and stages works, and any timm `VisionTransformer` or `Eva`. Stems of convolutions
  that overlap (RegNet, MaxViT, NextViT) see a few pixels across the border of a hidden unit; Swin's does not.
- Vision transformers keep their own positions instead of a shared relative bias.
- The number of hidden units is rounded up as in the reference; the encoder keeps timm's initial weights.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.train.encoders.chain import Chain, find_chain
from shardforge.train.encoders.vit import apply_norm, encode, token_shape
from shardforge.train.masking import Mask, spread
from shardforge.train.methods.base import Method, MIMOutput

#: Side of a mask unit in pixels.
UNIT = 32


class SimMIM(Method):
    """SimMIM on most networks.

    Args:
        encoder: a timm model without a classifier.
        size: height and width of the images, multiples of 32.
        mask_ratio: share of the units of 32 pixels to hide.
        min_mask_size: units are hidden in squares of this side.
    """

    default_size: ClassVar[int] = 192
    default_mask_ratio: ClassVar[float] = 0.6

    def __init__(
        self,
        encoder: nn.Module,
        *,
        size: tuple[int, int],
        mask_ratio: float | None = None,
        min_mask_size: int = 1,
    ) -> None:
        grid = (size[0] // UNIT, size[1] // UNIT)
        super().__init__(encoder, size=size, grid=grid, patch=UNIT, mask_ratio=mask_ratio, min_mask_size=min_mask_size)
        self.features: Chain | None = None
        if isinstance(encoder, (VisionTransformer, Eva)):
            shape = token_shape(encoder, "simmim")
            self.stem_grid, width, outputs, out_grid = shape.grid, shape.width, shape.width, shape.grid
        else:
            self.features = find_chain(encoder, size, "simmim")
            width, *stem = self.features.stem_shape
            outputs, *out = self.features.shape
            self.stem_grid, out_grid = (stem[0], stem[1]), (out[0], out[1])
        if self.stem_grid[0] % grid[0] or self.stem_grid[1] % grid[1] or size[0] % out_grid[0]:
            raise UsageError(
                f"simmim hides squares of {UNIT} pixels, which are no whole number of this encoder's patches "
                f"({self.stem_grid[0]} x {self.stem_grid[1]} in an image): choose another --encoder."
            )
        stride = size[0] // out_grid[0]
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
        self.decoder = nn.Sequential(nn.Conv2d(outputs, stride**2 * 3, 1), nn.PixelShuffle(stride))

    def run(self, images: Tensor, mask: Mask) -> MIMOutput:
        """Predict all pixels, [B, 3, H, W]."""
        prediction = self.decoder(self.encode(images, mask)).float()
        target = images.float()
        hidden = self.hidden_pixels(mask, (images.shape[2], images.shape[3])).float()
        loss = ((prediction - target).abs() * hidden).sum() / (hidden.sum() + 1e-5) / 3
        return MIMOutput(loss, prediction, target, mask)

    def encode(self, images: Tensor, mask: Mask) -> Tensor:
        """Return the encoder's features, [B, C, H, W]."""
        hidden = spread(mask.hidden, self.grid, self.stem_grid)
        if self.features is None:
            return self._encode_tokens(images, hidden)
        stem = self.features.run_stem(self.encoder, images)
        token = self.mask_token.to(stem.dtype)[:, None, None]
        return self.features.run_stages(self.encoder, torch.where(hidden[:, None], token, stem))

    def _encode_tokens(self, images: Tensor, hidden: Tensor) -> Tensor:
        encoder: Any = self.encoder
        flat = hidden.flatten(1)
        mask = Mask(flat, flat, 0)  # tokens are replaced, so their order does not matter
        tokens = apply_norm(encoder, encode(encoder, images, mask, token=self.mask_token)[-1])
        patches = tokens[:, encoder.num_prefix_tokens :]
        return patches.transpose(1, 2).reshape(len(images), -1, *self.stem_grid)

    def reconstruct(self, images: Tensor, output: MIMOutput) -> Tensor:
        """Paste the predicted pixels over the hidden ones."""
        hidden = self.hidden_pixels(output.mask, (images.shape[2], images.shape[3]))
        return torch.where(hidden, output.prediction, images.float())
