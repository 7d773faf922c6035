"""Hiera's masked autoencoder (Ryali et al. 2023, arXiv:2306.00989): whole mask units of 32 pixels are hidden.

The encoder runs on visible units only and pools twice (`q_pool` 2), so a unit ends as 2 x 2 tokens. Features of the
first stages are brought to that resolution by strided convolutions and added to the last ones; stage 3 has the
resolution of the last and is left out. The decoder's positions are learnt; pixels are normalised within each patch.
Hidden pixels are zero before the patch embedding, whose kernel overlaps its neighbours.

Differences from the reference: the norm before the decoder is the encoder's `head.norm`, where timm keeps it for the
classifier; networks with window positions (`abswin`) and layer scale are accepted; the mask says what is hidden, the
reference's what is kept.
"""

from __future__ import annotations

from typing import Any, ClassVar

from timm.models.hiera import Hiera
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.train.encoders.hiera import encode_units
from shardforge.train.masking import Mask
from shardforge.train.methods.decoder import TokenDecoder, initialise_vit
from shardforge.train.methods.patches import PatchLayout, PixelMethod


class HieraMAE(PixelMethod):
    """Masked autoencoder on Hiera; arguments are those of `MAE`."""

    default_mask_ratio: ClassVar[float] = 0.6
    encoder_settings: ClassVar[dict[str, Any]] = {"q_pool": 2}
    family: ClassVar[str | None] = "hiera"

    def __init__(
        self,
        encoder: nn.Module,
        *,
        size: tuple[int, int],
        mask_ratio: float | None = None,
        min_mask_size: int = 1,
        norm_pix: bool = True,
        width: int = 512,
        depth: int = 8,
        initialise: bool = True,
    ) -> None:
        if not isinstance(encoder, Hiera):
            raise UsageError(f"mae_hiera needs a Hiera encoder, not {type(encoder).__name__}: choose a hiera_ one.")
        stride, unit = encoder.patch_stride[0], encoder.mask_unit_size[0]
        rows, columns = encoder.mask_spatial_shape
        super().__init__(
            encoder,
            size=size,
            grid=(rows, columns),
            patch=stride * unit,
            mask_ratio=mask_ratio,
            min_mask_size=min_mask_size,
        )
        encoder.head.norm.requires_grad_(True)
        self.norm_pix = norm_pix
        self.stages = [*encoder.stage_ends[: encoder.q_pool], encoder.stage_ends[-1]]
        self.tokens_per_side = unit // encoder.q_stride[0] ** encoder.q_pool
        self.layout = PatchLayout(
            (rows * self.tokens_per_side, columns * self.tokens_per_side),
            self.patch // self.tokens_per_side,
            channels_first=True,
        )
        widths: list[Any] = [encoder.blocks[stage].dim_out for stage in self.stages]
        sides = [unit // encoder.q_stride[0] ** stage // self.tokens_per_side for stage in range(encoder.q_pool)]
        self.fusion = nn.ModuleList(
            nn.Conv2d(width_in, widths[-1], side, stride=side)
            for width_in, side in zip(widths[:-1], sides, strict=True)
        )
        self.decoder = TokenDecoder(
            widths[-1], self.layout.side**2 * 3, self.layout.grid, width=width, depth=depth, learned_positions=True
        )
        self.decoder.initialise()
        if initialise:
            initialise_vit(encoder)

    def predict(self, images: Tensor, mask: Mask) -> Tensor:
        """Return the pixels of all patches of 16 x 16, [B, patches, 16 * 16 * 3]."""
        fine = mask.refine(self.layout.grid, self.tokens_per_side)
        predicted: Tensor = self.decoder(self.encode(images, mask), fine)
        return predicted

    def encode(self, images: Tensor, mask: Mask) -> Tensor:
        """Return the fused features of the visible units, [B, visible * tokens of a unit, width]."""
        features = encode_units(self.encoder, images, mask)
        fused = features[-1]
        for convolution, feature in zip(self.fusion, features, strict=False):
            units = feature.flatten(0, 1).permute(0, 3, 1, 2)
            fused = fused + convolution(units).permute(0, 2, 3, 1).reshape(fused.shape)
        encoder: Any = self.encoder
        normalised: Tensor = encoder.head.norm(fused)
        return normalised.flatten(1, 3)
