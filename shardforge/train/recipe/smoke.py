"""`--smoke`: a recipe at the least cost that still goes through all of it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, TypeVar

from shardforge.train.encoders import resolve_encoder
from shardforge.train.recipe.settings import Settings

SMOKE_STEPS = 2
_BATCH = 4

Some = TypeVar("Some", bound=Settings)

#: Width and depth of an encoder, by the file of timm that defines it.
_NARROW: dict[str, dict[str, Any]] = {
    "vision_transformer": {"embed_dim": 64, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0},
    "vision_transformer_sam": {"embed_dim": 64, "depth": 2, "num_heads": 2, "global_attn_indexes": (1,)},
    "eva": {"embed_dim": 64, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0},
    "hiera": {"embed_dim": 16, "stages": (1, 1, 2, 1)},
    "convnext": {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)},
    "regnet": {"depth": 8, "w0": 16, "wa": 16.0, "wm": 2.0, "group_size": 8},
    "maxxvit": {"depths": (1, 1, 1, 1), "embed_dim": (32, 32, 64, 64), "stem_width": 16},
    "nextvit": {"depths": (1, 1, 5, 1), "stem_chs": (16, 16, 16)},
    "swin_transformer_v2": {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)},
}


def shrink_settings(settings: Some) -> Some:
    """Return the settings of a smoke run: a small batch, read without workers, in a folder apart from real runs."""
    repeats = settings.ra_reps if settings.ra_sampler else 1
    batch = max(_BATCH, repeats) // repeats * repeats
    return replace(settings, out=os.path.join(settings.out, "smoke"), batch_size=batch, workers=0, log_steps=1)


def narrow_encoder(name: str) -> dict[str, Any]:
    """Return the arguments that make an encoder tiny."""
    return _NARROW.get(resolve_encoder(name).family, {})


def shrink_size(name: str, size: int) -> int:
    """Return about half the size of images, one that all encoders and masks of its patch size divide."""
    spec = resolve_encoder(name)
    unit = 56 if spec.arguments.get("patch_size") == 14 or "patch14" in spec.model else 64
    return unit * (2 if size <= 256 else 3)


def narrow_decoder(accepted: frozenset[str]) -> dict[str, Any]:
    """Return the arguments that make a method's decoder tiny, of those that it accepts."""
    return {name: value for name, value in {"width": 64, "depth": 1}.items() if name in accepted}
