"""From a method's name to the method.

Endings of a name and their defaults: `mae_vit` predicts plain pixels, as its recipes do, `mae_vit_npl` normalised ones;
`crossmae`, `fcmae` and `mae_hiera` predict normalised pixels, as their published runs do, and plain ones with `_raw`.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from shardforge.errors import UsageError
from shardforge.train.encoders import EncoderSpec
from shardforge.train.methods.base import Method
from shardforge.train.methods.crossmae import CrossMAE
from shardforge.train.methods.dbot import DBOT
from shardforge.train.methods.fcmae import FCMAE
from shardforge.train.methods.hiera_mae import HieraMAE
from shardforge.train.methods.mae import MAE
from shardforge.train.methods.simmim import SimMIM

METHODS: dict[str, type[Method]] = {
    "mae_vit": MAE,
    "crossmae": CrossMAE,
    "fcmae": FCMAE,
    "mae_hiera": HieraMAE,
    "simmim": SimMIM,
    "dbot": DBOT,
}

_NAME = re.compile(r"(?P<base>.+?)(_dec(?P<width>\d+)d(?P<depth>\d+))?(_(?P<pixels>npl|raw))?")


@dataclass(frozen=True)
class MethodSpec:
    """What a method's name says.

    Attributes:
        name: the name.
        kind: the class.
        settings: arguments that the name's endings stand for.
    """

    name: str
    kind: type[Method]
    settings: dict[str, Any] = field(default_factory=dict)

    def check_family(self, encoder: EncoderSpec) -> None:
        """Refuse an encoder that cannot be built with `kind.encoder_settings`.

        Raises:
            UsageError: it is of another family.
        """
        if self.kind.family not in (None, encoder.family):
            raise UsageError(
                f"{self.name} needs an encoder of timm's {self.kind.family}.py, such as {self.kind.family}_small, not "
                f"{encoder.name}: choose another one, or mae_vit for vision transformers, fcmae for ConvNeXt and "
                "RegNet, simmim for most networks."
            )

    def create(self, encoder: nn.Module, *, size: int | tuple[int, int], **settings: Any) -> Method:
        """Put the method around an encoder, which must have been built with `kind.encoder_settings`.

        Args:
            encoder: a timm model.
            size: side of the images, or height and width.
            **settings: arguments of the class; they win over the name's.

        Raises:
            UsageError: the method cannot run this encoder, size or setting.
        """
        pair = (size, size) if isinstance(size, int) else size
        given = {**self.settings, **settings}
        accepted = inspect.signature(self.kind.__init__).parameters.keys() - {"self", "encoder", "size"}
        if unknown := given.keys() - accepted:
            raise UsageError(
                f"Method {self.name} has no setting {', '.join(sorted(unknown))}: expected some of "
                f"{', '.join(sorted(accepted))}."
            )
        try:
            return self.kind(encoder, size=pair, **given)
        except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
            told = {name: value for name, value in given.items() if value is not None}
            raise UsageError(
                f"Method {self.name} cannot be built with {told} ({str(error).splitlines()[0]}): check --model-config."
            ) from error


def resolve_method(name: str) -> MethodSpec:
    """Look a method up.

    `_dec512d12` at the end sets width and depth of the decoder, `_npl` predicts pixels normalised within each patch,
    and `_raw` pixels as they are.

    Raises:
        UsageError: there is no such method.
    """
    match = _NAME.fullmatch(name)
    if match is None or match["base"] not in METHODS:
        raise UsageError(
            f"There is no method {name}: expected one of {', '.join(METHODS)}, with _dec512d12 (width and depth of the "
            f"decoder), _npl (normalised pixels) or _raw (plain pixels) at the end if need be."
        )
    settings: dict[str, Any] = {}
    if match["width"]:
        settings |= {"width": int(match["width"]), "depth": int(match["depth"])}
    if match["pixels"]:
        settings["norm_pix"] = match["pixels"] == "npl"
    return MethodSpec(name, METHODS[match["base"]], settings)


def create_method(name: str, encoder: nn.Module, *, size: int | tuple[int, int], **settings: Any) -> Method:
    """Put the method called `name` around an encoder; see `MethodSpec.create`."""
    return resolve_method(name).create(encoder, size=size, **settings)
