"""Models by name: networks of the recipes and of timm, and what was trained here."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import timm
from torch import nn

from shardforge.errors import UsageError
from shardforge.train.checkpoint import list_checkpoints
from shardforge.train.encoders import ENCODERS, EncoderSpec, resolve_encoder
from shardforge.train.encoders.features import classifier_names
from shardforge.train.recipe.settings import expand_home
from shardforge.train.use.about import check_about
from shardforge.train.use.preprocessing import Preprocessing, attach_preprocessing, find_rgb_mode
from shardforge.train.weights import Weights, fit_weights, read_weights

_SUFFIXES = (".safetensors", ".pt")
_BEST = "best.safetensors"
#: Arguments that follow from the size and the number of classes.
_DERIVED = ("img_size", "window_size", "num_classes")


def list_models(pattern: str = "*", *, runs: str | Path = "models") -> list[str]:
    """Return the names that `get_model` takes and that match a pattern with wildcards.

    Runs come first, as the paths of their folders in `runs` (the pattern may match the last part alone), then the
    encoders of the recipes, then timm's models.
    """
    folders = [path for path in sorted(Path(runs).glob("*/")) if _find_weights(path) is not None]
    found = [str(path) for path in folders if fnmatchcase(path.name, pattern) or fnmatchcase(str(path), pattern)]
    return found + [name for name in dict.fromkeys([*ENCODERS, *timm.list_models()]) if fnmatchcase(name, pattern)]


def get_model(
    name: str | Path,
    *,
    pretrained: bool | str | Path = False,
    num_classes: int | None = None,
    size: int | None = None,
    rgb_mode: str | None = None,
) -> nn.Module:
    """Return a model in evaluation mode that knows what images it expects (`preprocessing_of`).

    Args:
        name: a run's folder (its best weights), a .safetensors file or a checkpoint of a run, or a network of
            `list_models()`, which starts with random weights.
        pretrained: for a network, True for the weights that timm has published, or a file of weights.
        num_classes: outputs; 0 for none; None keeps those of the weights. Another number than theirs makes a new head.
        size: side of the images; None is that of the weights.
        rgb_mode: colours; None is that of the weights.

    Raises:
        UsageError: there is no such model, or the weights are not those of the network.
    """
    if not isinstance(name, str | Path):
        raise UsageError(
            f"{type(name).__name__} is no model; expected a run's folder, a file of weights, or a name of list_models()"
        )
    if isinstance(pretrained, str | Path):
        weights = read_weights(find_weights_file(pretrained) or _expand(pretrained))
        model, preprocessing = _load(resolve_encoder(str(name), size=size), weights, num_classes)
    elif (path := find_weights_file(name)) is not None:
        weights = read_weights(path)
        model, preprocessing = _load(_described_network(weights, size), weights, num_classes)
    else:
        model, preprocessing = _create(str(name), pretrained, num_classes, size)
    attach_preprocessing(model, replace(preprocessing, rgb_mode=rgb_mode or preprocessing.rgb_mode))
    return model.eval()


def find_weights_file(name: str | Path) -> Path | None:
    """Return the file that a name means: itself, or the best weights of a run; None for the name of a network.

    Raises:
        UsageError: it is a path where no weights are.
    """
    path = _expand(name)
    if path.suffix in _SUFFIXES or path.is_file():
        return path
    found = _find_weights(path) if path.is_dir() else None
    if found is None and (path.is_absolute() or len(path.parts) > 1):
        raise UsageError(f"{path}: there are no weights; name a run's folder, a .safetensors file, or a network")
    return found


def _expand(name: str | Path) -> Path:
    return Path(expand_home(str(name)))


def _find_weights(folder: Path) -> Path | None:
    """Return the best weights of a run, else the newest ones, else its latest checkpoint."""
    if (best := folder / _BEST).exists():
        return best
    exported = sorted(folder.glob("*.safetensors"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    saved = [one.path for one in list_checkpoints(folder)]
    return next(iter([*exported[::-1], *saved[::-1]]), None)


def _described_network(weights: Weights, size: int | None) -> EncoderSpec:
    """Return the network that a file of ours tells, for images of `size`."""
    about = weights.about
    if "model" not in about:
        raise UsageError(
            f"{weights.path}: does not tell which network it is of; name that, too: get_model(NETWORK, pretrained=FILE)"
            ", or --network NETWORK"
        )
    check_about(weights.path, about)
    if size in (None, about["size"]):
        return EncoderSpec(about["network"], about["model"], about["arguments"], (about["size"], about["size"]))
    settings = {name: value for name, value in about["arguments"].items() if name not in _DERIVED}
    return resolve_encoder(about["network"], size=size, settings=settings)


def _load(spec: EncoderSpec, weights: Weights, num_classes: int | None) -> tuple[nn.Module, Preprocessing]:
    """Build a network and load weights into it, with their classifier unless another one is asked for."""
    held = _count_outputs(spec, weights)
    outputs = held if num_classes is None else num_classes
    model = replace(spec, arguments={**spec.arguments, "num_classes": outputs}).create()
    fitted = fit_weights(weights, model, keep_head=outputs == held)
    heads = tuple(f"{name}." for name in classifier_names(model))
    if missing := [name for name in fitted.fresh if not name.startswith(heads)]:
        raise UsageError(f"{weights.path}: holds no {missing[0]}; it is not of the network {spec.name}: name another")
    classes = weights.about.get("classes") or ()
    named = tuple(classes) if len(classes) == outputs == held else None
    mode = weights.about.get("rgb_mode") or _published_rgb_mode(spec)
    return model, Preprocessing(spec.size[0], mode, named or None)


def _count_outputs(spec: EncoderSpec, weights: Weights) -> int:
    """Return how many classes the classifier in a file has; 0 where there is none."""
    names = _timm_config(spec).classifier
    head = names if isinstance(names, str) else next(iter(names or ()), "")
    weight = weights.state.get(f"{head}.weight")
    return 0 if weight is None else len(weight)


def _create(name: str, pretrained: bool, num_classes: int | None, size: int | None) -> tuple[nn.Module, Preprocessing]:
    """Build a network with random weights, or with those that timm has published, in their own preprocessing."""
    config = _timm_config(resolve_encoder(name))
    outputs = config.num_classes if num_classes is None else num_classes
    spec = resolve_encoder(name, size=size, num_classes=outputs)
    preprocessing = Preprocessing(spec.size[0], _published_rgb_mode(spec))
    if not pretrained:
        return spec.create(), preprocessing
    try:
        model: nn.Module = timm.create_model(spec.model, pretrained=True, **spec.arguments)
    except (RuntimeError, OSError, ValueError) as error:
        raise UsageError(
            f"{name}: timm's published weights cannot be had ({str(error).splitlines()[0]}); check the name and the "
            "network connection, or name a file of weights"
        ) from error
    return model, replace(preprocessing, crop=config.crop_pct if config.crop_mode == "center" else None)


def _published_rgb_mode(spec: EncoderSpec) -> str:
    config = _timm_config(spec)
    return find_rgb_mode(config.mean, config.std, spec.name)


def _timm_config(spec: EncoderSpec) -> Any:
    return timm.get_pretrained_cfg(spec.model)
