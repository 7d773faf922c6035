"""A linear probe: the body of a network stays as it is, and a linear classifier is trained on its features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.train.encoders.features import classifier_names

_EPSILON = 1e-6
_NORM, _LINEAR = ".probe_norm.", ".probe."


class NormalisedHead(nn.Module):
    """A linear classifier of features that are normalised over the batch, without a learnt scale.

    That is how MAE's linear probe makes features of any scale fit one learning rate. After training it is a plain
    linear classifier (`fold_norms`).
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.probe_norm = nn.BatchNorm1d(head.in_features, eps=_EPSILON, affine=False)
        self.probe = head

    def forward(self, features: Tensor) -> Tensor:
        """Return the classes' scores [B, classes] of features [B, width]."""
        scores: Tensor = self.probe(self.probe_norm(features))
        return scores


def freeze_body(model: nn.Module, *, normalise: bool) -> None:
    """Let only the classifier learn, with its input normalised if so asked.

    Raises:
        UsageError: there is no linear classifier to normalise for.
    """
    for name in find_body(model, [name for name, _ in model.named_parameters()]):
        model.get_parameter(name).requires_grad_(False)
    for name in classifier_names(model) if normalise else ():
        head = model.get_submodule(name)
        if not isinstance(head, nn.Linear) or head.bias is None:
            raise UsageError(
                f"--probe-norm: {name} of this network is no linear layer with biases; leave the option out"
            )
        model.set_submodule(name, NormalisedHead(head))


def find_body(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Return those of a network's parameters or buffers that are no part of its classifier."""
    heads = tuple(f"{name}." for name in classifier_names(model))
    return [name for name in names if not name.startswith(heads)]


def train_head(model: nn.Module) -> None:
    """Set the mode of a linear probe in training: nothing is dropped, and only the head's own norm counts batches."""
    model.eval()
    for module in model.modules():
        if isinstance(module, NormalisedHead):
            module.train()


def fold_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in which a `NormalisedHead` is the linear layer that does the same."""
    mean = f"{_NORM}running_mean"
    heads = [name.removesuffix(mean) for name in state if name.endswith(mean)]
    parts = tuple(f"{head}{part}" for head in heads for part in (_NORM, _LINEAR))
    folded = {name: value for name, value in state.items() if not name.startswith(parts)}
    for head in heads:
        scale = torch.rsqrt(state[f"{head}{_NORM}running_var"] + _EPSILON)
        weight = state[f"{head}{_LINEAR}weight"] * scale
        folded[f"{head}.weight"] = weight
        folded[f"{head}.bias"] = state[f"{head}{_LINEAR}bias"] - weight @ state[f"{head}{mean}"]
    return folded
