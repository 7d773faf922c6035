"""Optimisers, and the groups in which parameters share learning rate and weight decay.

Each group holds its own learning rate, layer decay included, so that any torch scheduler honours it.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import group_parameters
from torch import nn

from shardforge.errors import UsageError
from shardforge.train.recipe.options import name_option
from shardforge.train.recipe.settings import Optimisation

#: Parameters of `--transformer-embedding-decay`, by the last part of their names.
EMBEDDINGS = frozenset(
    {"cls_token", "class_token", "mask_token", "reg_token", "pos_embed", "pos_embedding", "pos_embed_win"}
    | {
        "position_embedding",
        "relative_position_bias_table",
        "rel_pos_h",
        "rel_pos_w",
        "decoder_embed",
        "decoder_pos_embed",
    }
)

_MOMENTUM = {"sgd", "rmsprop"}
_BETAS = {"adamw", "adam", "nadam", "nadamw", "radam", "adamax"}
_CAPTURABLE = {"adamw", "adam", "nadam", "nadamw", "radam", "adamax", "rmsprop"}
_FUSED = {"sgd", "adamw", "adam", "adagrad"}
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def create_optimiser(
    settings: Optimisation, model: nn.Module, lr: float, *, layered: nn.Module | None = None, compiled: bool = False
) -> torch.optim.Optimizer:
    """Return the optimiser of `--opt` over the trainable parameters of `model`.

    `layered` is the part of it that `--layer-decay` goes through, a timm model; the rest learns at the full rate.
    `compiled` lets `torch.compile` take the step: rates are tensors then, so that changing them compiles nothing anew.
    """
    groups = group_by_rate_and_decay(settings, model, lr, layered=layered)
    if compiled:
        for group in groups:
            group["lr"] = torch.tensor(group["lr"])
    return _optimiser_class(settings.opt)(groups, **_arguments(settings, compiled))


def group_by_rate_and_decay(
    settings: Optimisation, model: nn.Module, lr: float, *, layered: nn.Module | None = None
) -> list[dict[str, Any]]:
    """Return parameter groups with `lr`, `weight_decay` and the `names` of their parameters."""
    scales = _layer_scales(settings, model, layered)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            decay = _choose_decay(settings, module, name)
            scale = scales.get(id(parameter), 1.0)
            group = groups.setdefault(
                (decay, scale), {"params": [], "lr": lr * scale, "weight_decay": decay, "names": []}
            )
            if not any(parameter is known for known in group["params"]):
                group["params"].append(parameter)
                group["names"].append(f"{prefix}.{name}" if prefix else name)
    return list(groups.values())


def _choose_decay(settings: Optimisation, module: nn.Module, name: str) -> float:
    """Return the weight decay of a parameter: that of its name, else of its module, else `--wd`."""
    if name == "bias" and settings.bias_weight_decay is not None:
        return settings.bias_weight_decay
    if name in EMBEDDINGS and settings.transformer_embedding_decay is not None:
        return settings.transformer_embedding_decay
    if isinstance(module, _NORMS) and settings.norm_wd is not None:
        return settings.norm_wd
    return settings.wd


def _layer_scales(settings: Optimisation, model: nn.Module, layered: nn.Module | None) -> dict[int, float]:
    """Return the factor of the learning rate for the parameters of `layered`, by their `id`."""
    if settings.layer_decay is None:
        return {}
    part: Any = model if layered is None else layered
    if not hasattr(part, "group_matcher"):
        raise UsageError(f"--layer-decay: {type(part).__name__} does not tell its layers apart; leave the option out")
    layers = group_parameters(part, part.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())
    return {
        id(parameter): max(settings.layer_decay_min_scale, settings.layer_decay ** (last - layers[name]))
        for name, parameter in part.named_parameters()
    }


def _optimiser_class(name: str) -> type[torch.optim.Optimizer]:
    classes: dict[str, type[torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD,
        "adamw": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "nadam": torch.optim.NAdam,
        "nadamw": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
        "adamax": torch.optim.Adamax,
    }
    return classes[name]


def _arguments(settings: Optimisation, compiled: bool) -> dict[str, Any]:
    """Return what the optimiser is made with, besides its groups."""
    name = settings.opt
    given = {"opt_betas": settings.opt_betas, "opt_fused": settings.opt_fused, "nesterov": settings.nesterov}
    takers = {"opt_betas": _BETAS, "opt_fused": _FUSED, "nesterov": {"sgd"}}
    for option, takes in takers.items():
        if given[option] and name not in takes:
            raise UsageError(f"{name_option(option)}: --opt {name} has no such setting; {', '.join(sorted(takes))} do")
    arguments: dict[str, Any] = {}
    if name in _MOMENTUM:
        arguments["momentum"] = settings.momentum
    if settings.nesterov:
        arguments["nesterov"] = True
    if settings.opt_betas:
        arguments["betas"] = settings.opt_betas
    if settings.opt_eps is not None and name != "sgd":
        arguments["eps"] = settings.opt_eps
    if settings.opt_fused:
        arguments["fused"] = True
    if name == "nadamw":
        arguments["decoupled_weight_decay"] = True
    if compiled and name in _CAPTURABLE and not settings.opt_fused and torch.cuda.is_available():
        arguments["capturable"] = True
    return arguments
