"""One vector for each image out of what a network makes of it.

| pooling | vector |
|---|---|
| model | what the network's own classifier would see |
| cls | the class token |
| avg | the mean over patch tokens or the places of a feature map, and the norm that the network may have after it |
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.train.encoders.features import average_patches

POOLINGS = ("model", "cls", "avg")


def pool_features(model: Any, images: Tensor, pooling: str) -> Tensor:
    """Return float [B, width] for normalised images [B, 3, H, W].

    Raises:
        UsageError: the network has no class token, and it is asked for.
    """
    if pooling == "avg":
        return average_patches(model, images)
    features: Tensor = model.forward_features(images)
    if pooling == "model":
        pooled: Tensor = model.forward_head(features, pre_logits=True)
        return pooled.flatten(1)
    if getattr(model, "cls_token", None) is None:
        raise UsageError(f"--pooling cls: {type(model).__name__} has no class token; give model or avg")
    return features[:, 0]


@torch.inference_mode()
def measure_width(model: nn.Module, size: int, pooling: str) -> int:
    """Return how long the vectors are, by trying.

    Raises:
        UsageError: as for `pool_features`.
    """
    device = next(model.parameters()).device
    return pool_features(model, torch.zeros(1, 3, size, size, device=device), pooling).shape[1]
