"""The default of a dataclass's field: what it counts as where a file of an earlier release lacks it."""

from __future__ import annotations

from dataclasses import MISSING, Field
from typing import Any


def default_of(field: Field[Any]) -> Any:
    """Return what a field is where it is not given, `dataclasses.MISSING` where it must be."""
    return field.default if field.default_factory is MISSING else field.default_factory()
