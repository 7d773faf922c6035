"""An exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """A copy of `model` that follows it slowly; buffers follow, too."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, *, follow: bool = True) -> None:
        """Move towards `model`; without `follow` become a copy of it, as while the learning rate rises."""
        share = 1.0 - self.decay if follow else 1.0
        for own, new in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if own.is_floating_point():
                own.lerp_(new.to(own.dtype), share)
            else:
                own.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take weights that `state_dict` gave."""
        self.model.load_state_dict(state)


def scale_decay(decay: float, *, images_per_step: int, steps: int, epochs: int) -> float:
    """Return the decay for an update every `steps` steps, so that runs of any batch and length average alike."""
    return max(0.0, 1.0 - (1.0 - decay) * images_per_step * steps / epochs)
