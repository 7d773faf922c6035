"""The encoder names of published recipes, and the timm model that each of them stands for.

Architectural equivalents: sizes, tokens and pooling are the same, the order of tokens and the names of weights are
timm's. Where the recipe's network pools by the mean, the norm stays before the pooling (`fc_norm=False`), so that
pre-training trains it. timm has no `rope_vit_reg4_so150m_p14_ap`: it is another rotary model of timm's with all sizes
given, absolute positions beside the rotary ones, and attention pooling.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Entry:
    """How timm builds an encoder.

    Attributes:
        model: timm's name.
        arguments: what to pass beside the name.
        window: for networks with windows, image pixels to each token of a window's side.
        sincos: the position embedding is fixed sine-cosine and not learned.
    """

    model: str
    arguments: dict[str, Any] = field(default_factory=dict)
    window: int | None = None
    sincos: bool = False


_AVERAGE = {"class_token": False, "global_pool": "avg", "fc_norm": False}

ENCODERS: dict[str, Entry] = {
    "vit_reg4_b14": Entry("vit_base_patch14_reg4_dinov2", {"img_size": 224, "init_values": None}),
    "vit_reg4_so150m_p14_avg": Entry(
        "vit_so150m_patch16_reg4_gap_256",
        {**_AVERAGE, "patch_size": 14, "img_size": 224, "num_heads": 16, "mlp_ratio": 2320 / 896},
    ),
    "vit_reg4_b16": Entry(
        "vit_base_patch16_reg4_gap_256",
        {"img_size": 224, "class_token": True, "global_pool": "token", "fc_norm": False},
    ),
    "vit_l16": Entry("vit_large_patch16_224"),
    "vit_reg8_l16_avg": Entry("vit_large_patch16_224", {**_AVERAGE, "reg_tokens": 8, "img_size": 256}),
    "simple_vit_b16": Entry("vit_base_patch16_gap_224", _AVERAGE, sincos=True),
    "vit_sam_b16": Entry("samvit_base_patch16_224"),
    "rope_vit_reg4_so150m_p14_ap": Entry(
        "vit_base_patch16_rope_reg1_gap_256",
        {
            "img_size": 224,
            "patch_size": 14,
            "embed_dim": 896,
            "depth": 18,
            "num_heads": 16,
            "mlp_ratio": 2320 / 896,
            "num_reg_tokens": 4,
            "global_pool": "map",
            "use_abs_pos_emb": True,
            "init_values": None,
        },
    ),
    "convnext_v2_atto": Entry("convnextv2_atto"),
    "convnext_v2_nano": Entry("convnextv2_nano"),
    "convnext_v2_tiny": Entry("convnextv2_tiny"),
    "convnext_v2_base": Entry("convnextv2_base"),
    "regnet_y_4g": Entry("regnety_040"),
    "regnet_y_8g": Entry("regnety_080"),
    "hiera_small": Entry("hiera_small_224"),
    "hiera_abswin_tiny": Entry("hiera_tiny_224", {"abs_win_pos_embed": True}),
    "hiera_abswin_small": Entry("hiera_small_abswin_256", {"img_size": 224}),
    "hiera_abswin_base": Entry("hiera_base_abswin_256", {"img_size": 224}),
    "hiera_abswin_base_plus": Entry("hiera_base_plus_224", {"abs_win_pos_embed": True}),
    "maxvit_t": Entry("maxvit_tiny_tf_224"),
    "nextvit_s": Entry("nextvit_small"),
    "nextvit_b": Entry("nextvit_base"),
    "swin_transformer_v2_s": Entry("swinv2_small_window8_256", window=32),
    "swin_transformer_v2_b": Entry("swinv2_base_window8_256", window=32),
    "swin_transformer_v2_w2_b": Entry("swinv2_base_window16_256", window=16),
}
