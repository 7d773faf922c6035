"""Networks that are a chain: a stem, then stages, each fed with what the one before made."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from shardforge.errors import UsageError

#: What follows the features in timm's models.
_AFTER_FEATURES = ("head", "global_pool", "classifier", "fc", "head_drop")


class Chain(NamedTuple):
    """How features come about, told by names so that no module gets a second parent.

    Attributes:
        stem: name of the encoder's first module.
        stages: names of the modules after it, up to the features.
        channels_last: features are [B, H, W, C] and not [B, C, H, W].
        stem_shape: channels, rows and columns after the stem.
        shape: channels, rows and columns of the features.
    """

    stem: str
    stages: tuple[str, ...]
    channels_last: bool
    stem_shape: tuple[int, int, int]
    shape: tuple[int, int, int]

    def run_stem(self, encoder: nn.Module, images: Tensor) -> Tensor:
        """Return float [B, C, H, W] after the stem."""
        return self._first(encoder.get_submodule(self.stem)(images))

    def run_stages(self, encoder: nn.Module, stem: Tensor) -> Tensor:
        """Return the features [B, C, H, W] of what `run_stem` returned."""
        features = stem.permute(0, 2, 3, 1) if self.channels_last else stem
        for name in self.stages:
            features = encoder.get_submodule(name)(features)
        return self._first(features)

    def _first(self, features: Tensor) -> Tensor:
        return features.permute(0, 3, 1, 2) if self.channels_last else features


def find_chain(encoder: Any, size: tuple[int, int], method: str) -> Chain:
    """Find the stem and the stages of an encoder, and try them on a random image.

    Raises:
        UsageError: the encoder is no chain.
    """
    names = [name for name, _ in encoder.named_children()]
    end = min((names.index(name) for name in _AFTER_FEATURES if name in names), default=len(names))
    chain = Chain(names[0], tuple(names[1:end]), getattr(encoder, "output_fmt", "") == "NHWC", (0, 0, 0), (0, 0, 0))
    probe = torch.rand(1, 3, *size, device=next(encoder.parameters()).device)
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            expected = chain._first(encoder.forward_features(probe))
            stem = chain.run_stem(encoder, probe)
            features = chain.run_stages(encoder, stem)
        same = features.shape == expected.shape and torch.allclose(features, expected, rtol=1e-3, atol=1e-4)
    except (RuntimeError, TypeError, AssertionError, ValueError):
        same = False
    finally:
        encoder.train(training)
    if not same:
        raise UsageError(
            f"{method} cannot run {type(encoder).__name__}: it is neither a vision transformer nor a plain chain of "
            f"stem and stages that takes {size[0]} x {size[1]} images. Choose another --encoder or --size."
        )
    return chain._replace(stem_shape=_shape_of(stem), shape=_shape_of(features))


def _shape_of(features: Tensor) -> tuple[int, int, int]:
    _, channels, rows, columns = features.shape
    return channels, rows, columns
