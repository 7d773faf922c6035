"""From an encoder's name to a timm model, and from a trained encoder to weights that timm loads."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from timm.models import model_entrypoint
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.train.encoders.positions import fix_positions
from shardforge.train.encoders.table import ENCODERS, Entry

#: Arguments of timm's that follow from something else, and what to do instead of giving them.
DERIVED = {"num_classes": "the data tell how many there are", "img_size": "give --size"}


@dataclass(frozen=True)
class EncoderSpec:
    """What builds an encoder: `timm.create_model(spec.model, **spec.arguments)`.

    Attributes:
        name: the name that was asked for.
        model: timm's name.
        arguments: timm's arguments; plain values, so that a checkpoint can carry them.
        size: height and width of the images.
        sincos: the position embedding is fixed sine-cosine.
    """

    name: str
    model: str
    arguments: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (224, 224)
    sincos: bool = False

    @property
    def family(self) -> str:
        """The file of timm that defines the model, such as `vision_transformer`."""
        return model_entrypoint(self.model.partition(".")[0]).__module__.rpartition(".")[2]

    def create(self) -> nn.Module:
        """Build the encoder with fresh weights.

        Raises:
            UsageError: timm refuses the arguments.
        """
        try:
            encoder: nn.Module = timm.create_model(self.model, **self.arguments)
        except (TypeError, ValueError, AssertionError, RuntimeError, ArithmeticError, LookupError) as error:
            raise UsageError(
                f"Encoder {self.name} (timm {self.model}) cannot be built with {self.arguments}: {error} Check "
                f"--size and --encoder-model-config."
            ) from error
        self._check_patches(encoder)
        if self.sincos:
            fix_positions(encoder)
        return encoder

    def check_size(self, encoder: nn.Module) -> None:
        """Try a blank image, since strides and windows do not fit images of every size.

        Raises:
            UsageError: the encoder cannot take images of this size.
        """
        training = encoder.training
        try:
            with torch.inference_mode():
                encoder.eval()(torch.zeros(1, 3, *self.size))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UsageError(
                f"Encoder {self.name} cannot take images of {self.size[0]} x {self.size[1]} pixels "
                f"({str(error).partition(chr(10))[0]}): give another --size."
            ) from error
        finally:
            encoder.train(training)

    def _check_patches(self, encoder: nn.Module) -> None:
        patches = getattr(encoder, "patch_embed", None)
        built_for = getattr(patches, "img_size", None)
        if built_for is not None and tuple(built_for) != self.size:
            raise UsageError(
                f"Encoder {self.name} is built for images of {built_for[0]} x {built_for[1]} pixels, not of "
                f"{self.size[0]} x {self.size[1]}: leave the sizes out of its arguments, and give --size."
            )
        if 0 in (getattr(patches, "grid_size", None) or ()):
            raise UsageError(
                f"Encoder {self.name}: images of {self.size[0]} x {self.size[1]} pixels are smaller than one of its "
                "patches: give a larger --size."
            )


def resolve_encoder(
    name: str,
    *,
    size: int | tuple[int, int] | None = None,
    num_classes: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> EncoderSpec:
    """Look an encoder up.

    Args:
        name: a recipe's name (see `ENCODERS`) or any of timm's.
        size: side of the images, or height and width; None is the encoder's own.
        num_classes: outputs of the classifier; 0 is no classifier.
        settings: further arguments of the timm model; they win.

    Raises:
        UsageError: there is no such encoder, or its windows do not fit the size.
    """
    entry = ENCODERS.get(name) or Entry(name)
    config = _pretrained_config(entry.model, name)
    own_size = entry.arguments.get("img_size") or config.input_size[1:]
    height_width = _pair(size if size is not None else own_size)
    arguments = {**entry.arguments, "num_classes": num_classes}
    if config.fixed_input_size:
        arguments["img_size"] = height_width
    if entry.window is not None:
        arguments["window_size"] = _window_size(name, height_width, entry.window)
    return EncoderSpec(name, entry.model, {**arguments, **(settings or {})}, height_width, entry.sincos)


def create_encoder(name: str, **options: Any) -> nn.Module:
    """Build an encoder; the options are those of `resolve_encoder`."""
    return resolve_encoder(name, **options).create()


def export_encoder(encoder: nn.Module) -> dict[str, Tensor]:
    """Return the weights as `timm.create_model(...).load_state_dict` takes them: on the CPU, and no two in one memory.

    Wrappers of `torch.compile` and of distributed training are taken off.
    """
    state = unwrap(encoder).state_dict()
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}


def unwrap(module: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile` and `DistributedDataParallel`."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _pretrained_config(model: str, name: str) -> Any:
    if model.partition(".")[0] not in timm.list_models():
        near = difflib.get_close_matches(name, [*ENCODERS, *timm.list_models()], n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise UsageError(
            f"There is no encoder {name}: expected one of {', '.join(ENCODERS)} or a name of timm.list_models().{hint}"
        )
    try:
        config = timm.get_pretrained_cfg(model)
    except RuntimeError as error:
        raise UsageError(f"Encoder {name}: {error} Leave the part after the point out.") from error
    if config is None:
        raise UsageError(
            f"Encoder {name}: timm knows no input size for it, so it cannot be used here; choose another one."
        )
    return config


def _window_size(name: str, size: tuple[int, int], pixels: int) -> int:
    if size[0] != size[1] or size[0] % pixels or size[0] % 32:
        raise UsageError(
            f"Encoder {name} takes square images of a multiple of 32 pixels, not --size {size[0]} x {size[1]}."
        )
    return size[0] // pixels


def _pair(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
