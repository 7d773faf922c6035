"""What an encoder makes of whole images, as one vector each, and the modules that make classes of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def average_patches(encoder: Any, images: Tensor) -> Tensor:
    """Return the mean of an encoder's patches, [B, width]: what pre-training trains, whatever a classifier would read.

    Class and register tokens are left out. A norm that timm has after the mean follows it.
    """
    features: Tensor = encoder.forward_features(images)
    if features.ndim == 3:
        pooled = features[:, getattr(encoder, "num_prefix_tokens", 0) :].mean(dim=1)
    else:
        pooled = features.mean(dim=(1, 2) if getattr(encoder, "output_fmt", "") == "NHWC" else (2, 3))
    norm = getattr(encoder, "fc_norm", None)
    return pooled if norm is None else norm(pooled)


def before_classifier(model: Any, images: Tensor) -> Tensor:
    """Return what a network's own classifier reads, [B, width]."""
    features: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)
    return features.flatten(1)


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that make classes of features."""
    names = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)
