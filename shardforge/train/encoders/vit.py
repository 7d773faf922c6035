"""Masked forward passes of vision transformers: what is hidden never enters the blocks.

timm's `VisionTransformer` and `Eva` drop hidden tokens after the positions are added; rotary positions are gathered for
each image. `VisionTransformerSAM` attends within windows, so its tokens must stay where they are: hidden ones are
replaced by a learnt token before the blocks and dropped after them. The decoder therefore gets the same visible tokens
from it as from any other encoder, but a step costs as much as the whole image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from timm.layers.norm import LayerNorm2d
from timm.layers.pos_embed import resample_abs_pos_embed_nhwc
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.train.masking import Mask


class TokenShape(NamedTuple):
    """The tokens of a vision transformer.

    Attributes:
        grid: rows and columns of patches.
        patch: side of a patch in pixels.
        width: size of a token.
        prefix: class and register tokens, which come before the patches.
        class_token: whether the first of them is a class token.
        droppable: whether hidden tokens can be left out.
    """

    grid: tuple[int, int]
    patch: int
    width: int
    prefix: int
    class_token: bool
    droppable: bool


def token_shape(encoder: nn.Module, method: str) -> TokenShape:
    """Describe the tokens of an encoder.

    Raises:
        UsageError: the encoder is no vision transformer that `method` can run.
    """
    if not isinstance(encoder, (VisionTransformer, Eva, VisionTransformerSAM)):
        raise UsageError(
            f"{method} needs a vision transformer (timm's VisionTransformer, Eva or VisionTransformerSAM), "
            f"not {type(encoder).__name__}: choose another --encoder, or simmim, which takes most networks."
        )
    model: Any = encoder
    droppable = not isinstance(encoder, VisionTransformerSAM)
    return TokenShape(
        grid=tuple(model.patch_embed.grid_size),
        patch=model.patch_embed.patch_size[0],
        width=model.embed_dim,
        prefix=model.num_prefix_tokens if droppable else 0,
        class_token=droppable and model.cls_token is not None,
        droppable=droppable,
    )


def encode_visible(
    encoder: Any, images: Tensor, mask: Mask, *, token: Tensor | None = None, every_block: bool = False
) -> list[Tensor]:
    """Run the blocks on the visible patches, without the final norm.

    Args:
        encoder: a model that `token_shape` accepts.
        images: float [B, 3, H, W].
        mask: on the grid of patches.
        token: [1, 1, width], where hidden patches cannot be dropped: it takes their place until after the blocks.
        every_block: return what enters the first block, then the output of every block; otherwise the last alone.

    Returns:
        Tensors of [B, prefix + visible, width].
    """
    outputs = encode(encoder, images, mask, token=token, every_block=every_block)
    return outputs if token is None else [keep_tokens(output, mask, 0) for output in outputs]


def encode(
    encoder: Any,
    images: Tensor,
    mask: Mask | None = None,
    *,
    token: Tensor | None = None,
    every_block: bool = False,
) -> list[Tensor]:
    """Run the blocks: hidden patches are replaced by `token` where there is one, and dropped otherwise."""
    patches = encoder.patch_embed(images)
    if mask is not None and token is not None:
        patches = torch.where(mask.hidden.reshape(*patches.shape[:-1], 1), token.to(patches.dtype).squeeze(), patches)
    if isinstance(encoder, VisionTransformerSAM):
        return _run_in_place(encoder, patches, every_block)
    tokens, rope = _with_positions(encoder, patches)
    if mask is not None and token is None:
        tokens = keep_tokens(tokens, mask, encoder.num_prefix_tokens)
        rope = _keep_rope(rope, mask)
    tokens = encoder.norm_pre(tokens)
    outputs = [tokens]
    for number, block in enumerate(encoder.blocks):
        positions = {} if rope is None else {"rope": rope[number] if encoder.rope_mixed else rope}
        tokens = block(tokens, **positions)
        outputs.append(tokens)
    return outputs if every_block else outputs[-1:]


def apply_norm(encoder: nn.Module, tokens: Tensor) -> Tensor:
    """Apply the encoder's norm after the blocks, where it has one that acts on tokens."""
    norm = _find_norm(encoder)
    if norm is None:
        return tokens
    if isinstance(norm, LayerNorm2d):
        normalised: Tensor = norm(tokens.transpose(1, 2)[..., None])
        return normalised[..., 0].transpose(1, 2)
    return norm(tokens)  # type: ignore[no-any-return]


def has_norm(encoder: nn.Module) -> bool:
    """Tell whether the encoder normalises tokens after its blocks, and not only what it has pooled."""
    return _find_norm(encoder) is not None


def _find_norm(encoder: Any) -> nn.Module | None:
    if not isinstance(encoder, VisionTransformerSAM):
        return None if isinstance(encoder.norm, nn.Identity) else encoder.norm
    return encoder.neck if isinstance(encoder.neck, LayerNorm2d) else None


def keep_tokens(tokens: Tensor, mask: Mask, prefix: int) -> Tensor:
    """Return the first `prefix` tokens and the visible ones of the others, [B, prefix + visible, width]."""
    patches = tokens[:, prefix:]
    kept = patches.gather(1, mask.kept[..., None].expand(-1, -1, patches.shape[2]))
    return torch.cat([tokens[:, :prefix], kept], dim=1)


def _with_positions(encoder: Any, patches: Tensor) -> tuple[Tensor, Tensor | None]:
    embedded = encoder._pos_embed(patches)
    return embedded if isinstance(embedded, tuple) else (embedded, None)


def _keep_rope(rope: Tensor | None, mask: Mask) -> Tensor | None:
    """Pick each image's rotary positions: [N, D] becomes [B, 1, visible, D], [depth, heads, N, D] gets B as second."""
    if rope is None:
        return None
    if rope.dim() == 2:
        return rope[mask.kept][:, None]
    return rope[:, :, mask.kept].transpose(1, 2)


def _run_in_place(encoder: Any, tokens: Tensor, every_block: bool) -> list[Tensor]:
    if encoder.pos_embed is not None:
        tokens = tokens + resample_abs_pos_embed_nhwc(encoder.pos_embed, tokens.shape[1:3])
    tokens = encoder.norm_pre(encoder.pos_drop(tokens))
    outputs = [tokens]
    for block in encoder.blocks:
        tokens = block(tokens)
        outputs.append(tokens)
    return [output.flatten(1, 2) for output in (outputs if every_block else outputs[-1:])]
