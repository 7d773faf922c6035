"""Weights as files: exported in timm's layout, read back, and fitted to a model of another size or head."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.files import atomic_write
from shardforge.train.checkpoint import load_checkpoint
from shardforge.train.encoders.features import classifier_names
from shardforge.train.probe import fold_norms

_ABOUT = "shardforge"
#: In the metadata, too: the CRC-32 of names, types, shapes and numbers, and of what is said about them.
_CRC = "shardforge.crc32"


@dataclass(frozen=True)
class Weights:
    """The tensors of a file and what it says about them: task, network, epoch, size, classes."""

    path: Path
    state: dict[str, Tensor]
    about: dict[str, Any]


@dataclass
class Fitted:
    """What became of the parameters: which were resized, started afresh, or found no place."""

    resized: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = {"resized": self.resized, "fresh": self.fresh, "not used": self.unused}
        return "; ".join(f"{name}: {', '.join(found)}" for name, found in parts.items() if found) or "all as they were"


def write_weights(path: Path, state: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and what is to be known about them."""
    said = json.dumps(about)
    with atomic_write(path) as file:
        file.write(save(state, {_ABOUT: said, _CRC: _crc(state, said)}))


def read_weights(path: Path) -> Weights:
    """Read what `write_weights` wrote, a safetensors file of other origin, or the model of a checkpoint of ours.

    Raises:
        UsageError: the file is not there, or none of these.
    """
    if path.suffix == ".pt":
        return _read_checkpoint(path)
    with _open(path) as file:
        metadata = file.metadata() or {}
        about = _parse_about(metadata)
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _CRC in metadata and metadata[_CRC] != _crc(state, metadata.get(_ABOUT, "")):
            raise ValueError("it is damaged: its checksum is not the one that it says")
        return Weights(path, state, about)


def _crc(state: dict[str, Tensor], about: str) -> str:
    crc = zlib.crc32(about.encode())
    for name, value in sorted(state.items()):
        crc = zlib.crc32(f"{name}{value.dtype}{tuple(value.shape)}".encode(), crc)
        crc = zlib.crc32(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def read_about(path: Path) -> dict[str, Any]:
    """Return what a safetensors file says about its weights, without reading them; of others nothing."""
    with _open(path) as file:
        return _parse_about(file.metadata())


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safe_open(str(path), "pt") as file:
            yield file
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file; name a .safetensors file or a checkpoint (.pt)") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(f"{path}: not weights that this program reads ({error}); expected .safetensors") from error


def _parse_about(metadata: dict[str, str] | None) -> dict[str, Any]:
    about = json.loads((metadata or {}).get(_ABOUT, "{}"))
    if not isinstance(about, dict):
        raise ValueError(f"what it says about itself is no JSON object: {about!r:.50}")
    return about


def _read_checkpoint(path: Path) -> Weights:
    content = load_checkpoint(path)
    state = fold_norms(content["average"] or content["model"])
    if content["about"]["task"] == "mim":
        state = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    return Weights(path, state, content["about"])


def fit_weights(weights: Weights, model: nn.Module, *, keep_head: bool) -> Fitted:
    """Load weights into a timm model, position embeddings resized, its head only with `keep_head`.

    Raises:
        UsageError: the file is of another network.
    """
    own = model.state_dict()
    buffers = {name for name, _ in model.named_buffers()}
    heads = tuple(f"{name}." for name in classifier_names(model))
    fitted = Fitted()
    loaded: dict[str, Tensor] = {}
    for name, value in weights.state.items():
        if name not in own:
            fitted.unused.append(name)
        elif name.startswith(heads) and not keep_head:
            fitted.fresh.append(name)
        elif value.shape == own[name].shape:
            loaded[name] = value
        elif name not in buffers:
            loaded[name] = _resize(weights.path, model, name, value, own[name])
            fitted.resized.append(name)
    fitted.fresh += [name for name in own if name not in weights.state and name not in buffers]
    if len(loaded) < len(own) / 2:
        raise UsageError(
            f"{weights.path}: {len(loaded)} of the network's {len(own)} tensors are in this file; it holds weights of "
            f"{weights.about.get('network', 'another network')}"
        )
    model.load_state_dict(loaded, strict=False)
    return fitted


def _resize(path: Path, model: nn.Module, name: str, value: Tensor, own: Tensor) -> Tensor:
    """Return a table of positions for another size of images or windows."""
    last = name.rpartition(".")[2]
    if value.ndim == own.ndim:
        if last == "pos_embed" and own.ndim == 3:
            return _resize_tokens(model, value, own)
        if last == "pos_embed" and own.ndim == 4:  # [1, height, width, channels]
            moved = torch.nn.functional.interpolate(value.permute(0, 3, 1, 2), own.shape[1:3], mode="bicubic")
            return moved.permute(0, 2, 3, 1)
        if last in ("rel_pos_h", "rel_pos_w"):  # [places, channels]
            return torch.nn.functional.interpolate(value.T[None], len(own), mode="linear")[0].T
        if last == "relative_position_bias_table":
            attention: Any = model.get_submodule(name.rpartition(".")[0])
            return cast(Tensor, resize_rel_pos_bias_table(value, attention.window_size, own.shape))
    raise UsageError(
        f"{path}: {name} has shape {tuple(value.shape)}, the network's is {tuple(own.shape)}; give the options that "
        "the weights were trained with (a --smoke run takes weights of such runs alone)"
    )


def _resize_tokens(model: Any, value: Tensor, own: Tensor) -> Tensor:
    grid = getattr(model, "tokens_spatial_shape", None) or model.patch_embed.grid_size
    prefix = own.shape[1] - grid[0] * grid[1]
    return cast(Tensor, resample_abs_pos_embed(value, list(grid), num_prefix_tokens=prefix))
