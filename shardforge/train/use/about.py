"""Whether what a file of weights says about itself can be believed: files come from anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm

from shardforge.errors import UsageError
from shardforge.train.data.augment import RGB_STATISTICS

#: Arguments with which timm would read other files, or the network.
_READING = ("pretrained", "checkpoint", "cache")


def check_about(path: Path, about: dict[str, Any]) -> None:
    """Refuse a description that builds no network, or one that would read more than this file.

    Raises:
        UsageError: it is such.
    """
    for name, holds in _CHECKS.items():
        if not holds(about.get(name)):
            raise UsageError(
                f"{path}: says of itself {name} {about.get(name)!r:.60}, which is nothing that this program writes; "
                "name the network of these weights with --network, or take others"
            )


def _is_model(value: Any) -> bool:
    return isinstance(value, str) and value.partition(".")[0] in timm.list_models()


def _are_arguments(value: Any) -> bool:
    return isinstance(value, dict) and not any(name.startswith(_READING) for name in value)


def _are_classes(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "model": _is_model,
    "network": lambda value: isinstance(value, str),
    "arguments": _are_arguments,
    "size": lambda value: isinstance(value, int) and value > 0,
    "rgb_mode": lambda value: value in (None, *RGB_STATISTICS),
    "classes": _are_classes,
}
