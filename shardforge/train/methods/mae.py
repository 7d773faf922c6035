"""Masked autoencoder (He et al. 2021, arXiv:2111.06377): encode the visible quarter, predict the pixels of the rest.

`mae_vit` predicts pixels as they are, `mae_vit_npl` pixels normalised within each patch, which the paper found better.
As in the reference, encoder and decoder positions are fixed sine-cosine, weights are drawn from Xavier's distribution,
and the encoder's final norm comes before the decoder.

What the reference does not have:
- Register tokens go through encoder and decoder as the class token does, without a position.
- An encoder without a class token gives the decoder none. One whose only norm follows the pooling
  (`fc_norm`), or that has none, gets a norm of its own before the decoder; it is not exported.
- `vit_sam_b16` cannot drop tokens; `shardforge.train.encoders.vit` tells what is done instead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shardforge.train.encoders.positions import fix_positions
from shardforge.train.encoders.vit import apply_norm, encode_visible, has_norm, token_shape
from shardforge.train.masking import Mask
from shardforge.train.methods.decoder import LayerNorm, TokenDecoder, initialise_vit
from shardforge.train.methods.patches import PatchLayout, PixelMethod


class MAE(PixelMethod):
    """Masked autoencoder on a vision transformer.

    Args:
        encoder: a timm `VisionTransformer`, `Eva` or `VisionTransformerSAM` without a classifier.
        size: height and width of the images, for which the encoder was built.
        mask_ratio: share of the patches to hide.
        min_mask_size: patches are hidden in squares of this side.
        norm_pix: predict pixels normalised within each patch.
        width: size of the decoder's tokens.
        depth: number of the decoder's blocks.
        initialise: draw the encoder's weights anew, as the reference does.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        size: tuple[int, int],
        mask_ratio: float | None = None,
        min_mask_size: int = 1,
        norm_pix: bool = False,
        width: int = 512,
        depth: int = 8,
        initialise: bool = True,
    ) -> None:
        shape = token_shape(encoder, "mae_vit")
        super().__init__(
            encoder, size=size, grid=shape.grid, patch=shape.patch, mask_ratio=mask_ratio, min_mask_size=min_mask_size
        )
        self.norm_pix = norm_pix
        self.layout = PatchLayout(shape.grid, shape.patch)
        self.latent_norm = nn.Identity() if has_norm(encoder) else LayerNorm(shape.width)
        self.encoder_mask_token = None if shape.droppable else nn.Parameter(torch.zeros(1, 1, shape.width))
        self.decoder = TokenDecoder(
            shape.width, shape.patch**2 * 3, shape.grid, prefix=shape.prefix, width=width, depth=depth
        )
        self.decoder.initialise()
        if self.encoder_mask_token is not None:
            nn.init.normal_(self.encoder_mask_token, std=0.02)
        if initialise:
            initialise_vit(encoder)
            fix_positions(encoder)

    def predict(self, images: Tensor, mask: Mask) -> Tensor:
        """Return the pixels of all patches, [B, N, patch * patch * 3]."""
        tokens = encode_visible(self.encoder, images, mask, token=self.encoder_mask_token)[-1]
        tokens = self.latent_norm(apply_norm(self.encoder, tokens))
        predicted: Tensor = self.decoder(tokens, mask)
        return predicted[:, self.decoder.prefix :]
