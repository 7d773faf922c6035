"""CrossMAE (Fu et al. 2024, arXiv:2401.14391): hidden patches ask the visible ones, and not each other.

The decoder's tokens are hidden patches alone. They attend to encoder features in which each decoder block mixes the
outputs of all encoder blocks with weights of its own, and only a part of them is predicted. As in the published runs:
`predict_ratio` is a share of all patches (a quarter, which is a third of the hidden ones), what enters the first
encoder block is mixed in too, pixels are normalised, and the decoder has 12 blocks.

What the reference does not have: register tokens (they are attended to as the class token is). The encoder's final
norm is not used, as in the reference, so it keeps its initial value.
"""

from __future__ import annotations

import torch
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional

from shardforge.errors import UsageError
from shardforge.train.encoders.positions import fix_positions, sincos_positions
from shardforge.train.encoders.vit import encode_visible, token_shape
from shardforge.train.masking import Mask
from shardforge.train.methods.base import Method, MIMOutput, freeze
from shardforge.train.methods.decoder import LayerNorm, count_heads, initialise_transformer, initialise_vit
from shardforge.train.methods.patches import PatchLayout, normalise_patches, patch_statistics


class CrossMAE(Method):
    """CrossMAE on a vision transformer; arguments are those of `MAE`, and:

    Args:
        predict_ratio: share of all patches that is predicted.
        use_input: mix in what enters the first encoder block.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        size: tuple[int, int],
        mask_ratio: float | None = None,
        min_mask_size: int = 1,
        norm_pix: bool = True,
        width: int = 512,
        depth: int = 12,
        predict_ratio: float = 0.25,
        use_input: bool = True,
        initialise: bool = True,
    ) -> None:
        shape = token_shape(encoder, "crossmae")
        super().__init__(
            encoder, size=size, grid=shape.grid, patch=shape.patch, mask_ratio=mask_ratio, min_mask_size=min_mask_size
        )
        if not shape.droppable:
            raise UsageError(
                "crossmae needs an encoder that can drop tokens, which vit_sam_b16 cannot: choose mae_vit."
            )
        freeze(encoder, "norm")
        self.norm_pix = norm_pix
        self.use_input = use_input
        self.predicted_units = self._count_predicted(predict_ratio)
        self.layout = PatchLayout(shape.grid, shape.patch)
        features = len(encoder.blocks) + use_input  # type: ignore[arg-type]
        self.mixture = nn.Parameter(torch.randn(depth, features) / features**0.5)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(sincos_positions(width, shape.grid), requires_grad=False)
        self.blocks = nn.ModuleList(CrossBlock(shape.width, width) for _ in range(depth))
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, shape.patch**2 * 3)
        for module in (self.blocks, self.head):
            initialise_transformer(module)
        if initialise:
            initialise_vit(encoder)
            fix_positions(encoder)

    def _count_predicted(self, ratio: float) -> int:
        units = self.grid[0] * self.grid[1] // self.mask_unit**2
        skipped = int(units * (self.mask_ratio - ratio))
        predicted = units - int(units * (1 - self.mask_ratio)) - skipped
        if skipped < 0 or predicted < 1:
            raise UsageError(
                f"crossmae cannot predict {ratio} of all patches where {self.mask_ratio} of them are hidden: "
                f"choose a smaller share that leaves at least one."
            )
        return predicted

    def run(self, images: Tensor, mask: Mask) -> MIMOutput:
        """Predict the pixels of some hidden patches in reading order, [B, predicted, patch * patch * 3]."""
        predicted = self.predicted_patches(mask)
        features = encode_visible(self.encoder, images, mask, every_block=True)
        mixed = torch.einsum("df,fbnc->dbnc", self.mixture, torch.stack(features if self.use_input else features[1:]))
        tokens = pick(self.positions.expand(len(images), -1, -1), predicted) + self.mask_token
        for block, memory in zip(self.blocks, mixed, strict=True):
            tokens = block(tokens, memory)
        prediction = self.head(self.norm(tokens)).float()
        target = pick(self.layout.cut(images.float()), predicted)
        if self.norm_pix:
            target = normalise_patches(target)
        return MIMOutput(functional.mse_loss(prediction, target), prediction, target, mask)

    def predicted_patches(self, mask: Mask) -> Tensor:
        """Return the numbers of the patches that are predicted, int64 [B, predicted]."""
        return mask.order[:, -self.predicted_units * self.mask_unit**2 :].sort(dim=1).values

    def reconstruct(self, images: Tensor, output: MIMOutput) -> Tensor:
        """Paste what was predicted; hidden patches that were not stay blank."""
        patches = self.layout.cut(images.float())
        numbers = self.predicted_patches(output.mask)
        predicted = output.prediction
        if self.norm_pix:
            mean, deviation = patch_statistics(pick(patches, numbers))
            predicted = predicted * deviation + mean
        blank = patches.masked_fill(output.mask.hidden[..., None], 0.0)
        return self.layout.join(blank.scatter(1, numbers[..., None].expand_as(predicted), predicted))


class CrossBlock(nn.Module):
    """Attention of decoder tokens to encoder features, then a perceptron."""

    def __init__(self, encoder_width: int, width: int) -> None:
        super().__init__()
        self.heads = count_heads(width)
        self.memory_norm = LayerNorm(encoder_width)
        self.norm1 = LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(encoder_width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """Return [B, n, width] of tokens [B, n, width] and memory [B, m, encoder_width]."""
        query = self._split(self.query(self.norm1(tokens)))
        key, value = (self._split(part) for part in self.key_value(self.memory_norm(memory)).chunk(2, dim=2))
        attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.proj(attended)
        grown: Tensor = self.mlp(self.norm2(tokens))
        return tokens + grown

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


def pick(tokens: Tensor, numbers: Tensor) -> Tensor:
    """Return the tokens [B, N, D] with those numbers, [B, n, D]."""
    return tokens.gather(1, numbers[..., None].expand(-1, -1, tokens.shape[2]))
