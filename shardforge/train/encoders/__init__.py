"""Encoders: the recipes' names and all of timm's, masked forward passes, weights that plain timm loads."""

from __future__ import annotations

from shardforge.train.encoders.create import (
    DERIVED,
    EncoderSpec,
    create_encoder,
    export_encoder,
    resolve_encoder,
    unwrap,
)
from shardforge.train.encoders.table import ENCODERS

__all__ = ["DERIVED", "ENCODERS", "EncoderSpec", "create_encoder", "export_encoder", "resolve_encoder", "unwrap"]
