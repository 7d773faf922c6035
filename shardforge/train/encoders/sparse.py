"""Convolutional networks that see the visible part of an image only, computed densely.

The rule is one: whatever looks at more than one place sees zero at hidden places. So convolutions with a kernel larger
than 1, and global response norms, get input cleared of hidden places; squeeze-and-excitation averages, and batch
norms take their statistics, over visible places. What hidden places hold themselves is then never looked at. The
result at visible places is that of a sparse convolution on the visible places.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers.grn import GlobalResponseNorm
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.squeeze_excite import SEModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shardforge.errors import UsageError
from shardforge.train.masking import Mask, mask_from_hidden, spread


class VisiblePlaces:
    """The mask that the layers of one network look up while it runs; outside `using` they are ordinary layers."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self._grid = grid
        self.mask: Mask | None = None

    @contextmanager
    def using(self, mask: Mask) -> Iterator[None]:
        """Hide what `mask` hides."""
        self.mask = mask
        try:
            yield
        finally:
            self.mask = None

    def hidden(self, height: int, width: int) -> Tensor:
        """Return bool [B, height, width]."""
        assert self.mask is not None
        return spread(self.mask.hidden, self._grid, (height, width))

    def clear(self, features: Tensor) -> Tensor:
        """Return float [B, C, H, W] with zero at hidden places."""
        return features.masked_fill(self.hidden(*features.shape[2:])[:, None], 0.0)

    def scramble(self, features: Tensor) -> Tensor:
        """Return float [B, C, H, W] with random numbers at hidden places."""
        return torch.where(self.hidden(*features.shape[2:])[:, None], torch.rand_like(features), features)

    def count(self, features: Tensor) -> int:
        """Return how many places of [B, C, H, W] each image shows."""
        assert self.mask is not None
        return self.mask.visible * features.shape[2] * features.shape[3] // self.mask.hidden.shape[1]

    def clear_convolution(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Clear what goes into a convolution."""
        return None if self.mask is None else (self.clear(inputs[0]), *inputs[1:])

    def clear_response_norm(self, layer: Any, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        """Clear what goes into a global response norm, which may have its channels last."""
        if self.mask is None:
            return None
        rows, columns = layer.spatial_dim
        hidden = self.hidden(inputs[0].shape[rows], inputs[0].shape[columns]).unsqueeze(layer.channel_dim)
        return (inputs[0].masked_fill(hidden, 0.0),)


class SparseSqueezeExcite(SEModule):
    """Squeeze-and-excitation that averages over visible places."""

    places: VisiblePlaces

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of [B, C, H, W]."""
        if self.places.mask is None:
            return super().forward(x)  # type: ignore[no-any-return,no-untyped-call]
        pooled = self.places.clear(x).sum((2, 3), keepdim=True) / self.places.count(x)
        return x * self.gate(self.fc2(self.act(self.bn(self.fc1(pooled)))))  # type: ignore[no-any-return]


class SparseBatchNorm(BatchNormAct2d):
    """Batch norm whose statistics are those of visible places."""

    places: VisiblePlaces
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W]; moving averages follow the visible places too."""
        if self.places.mask is None or not self.training:
            return super().forward(x)  # type: ignore[no-any-return,no-untyped-call]
        with torch.autocast(x.device.type, enabled=False):
            normalised = self._normalise(x.float()).to(x.dtype)
        return self.act(self.drop(normalised))  # type: ignore[no-any-return]

    def _normalise(self, x: Tensor) -> Tensor:
        count = self.places.count(x) * len(x)
        mean = self.places.clear(x).sum((0, 2, 3)) / count
        centred = x - mean[:, None, None]
        variance = self.places.clear(centred).square().sum((0, 2, 3)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def make_sparse(encoder: nn.Module, grid: tuple[int, int]) -> VisiblePlaces:
    """Let the layers of an encoder look at visible places only; its weights keep their names.

    Args:
        encoder: a timm convolutional network.
        grid: rows and columns of the mask.

    Returns:
        What to give the mask to.

    Raises:
        UsageError: there is a batch norm of another kind.
    """
    places = VisiblePlaces(grid)
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            layer.register_forward_pre_hook(places.clear_convolution)
        elif isinstance(layer, GlobalResponseNorm):
            layer.register_forward_pre_hook(places.clear_response_norm)
        elif type(layer) in _SPARSE:
            layer.__class__ = _SPARSE[type(layer)]
            layer.places = places  # type: ignore[assignment]
        elif isinstance(layer, _BatchNorm):
            raise _refusal(encoder, f"{type(layer).__name__} takes statistics of the whole batch")
    return places


_SPARSE: dict[type[nn.Module], type[nn.Module]] = {SEModule: SparseSqueezeExcite, BatchNormAct2d: SparseBatchNorm}


def check_blindness(encoder: Any, places: VisiblePlaces, grid: tuple[int, int], size: tuple[int, int]) -> None:
    """Try two images that differ in their hidden pixels, and whose stems differ in what hidden places hold.

    Raises:
        UsageError: their visible features differ, because the encoder has layers that are not known here; or the
            features are no map of the grid.
    """
    device = next(encoder.parameters()).device
    checkers = torch.arange(grid[0])[:, None] + torch.arange(grid[1]) & 1
    mask = mask_from_hidden(checkers.bool().reshape(1, -1).to(device))
    images = torch.rand(1, 3, *size, device=device)
    others = torch.where(spread(mask.hidden, grid, size)[:, None], 1 - images, images)
    training = encoder.training
    encoder.eval()
    with torch.no_grad(), places.using(mask):
        features = encoder.forward_features(images)
        if features.shape[2:] != grid:
            raise _refusal(encoder, f"its features are no map of {grid[0]} x {grid[1]} places")
        scramble = next(encoder.children()).register_forward_hook(lambda _, __, stem: places.scramble(stem))
        same = torch.equal(places.clear(features), places.clear(encoder.forward_features(others)))
        scramble.remove()
    encoder.train(training)
    if not same:
        raise _refusal(encoder, "one of its layers looks at the whole image")


def _refusal(encoder: nn.Module, why: str) -> UsageError:
    return UsageError(
        f"fcmae cannot hide pixels from {type(encoder).__name__}: {why}. Choose a ConvNeXt or RegNet encoder, or use "
        f"simmim."
    )
