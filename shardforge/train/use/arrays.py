"""Images that a program holds as arrays of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from shardforge.errors import UsageError

_LARGEST = 255
_ROUNDING = 1e-5
_COLOURS = (1, 3, 4)


def image_from_array(array: npt.NDArray[Any], name: str) -> Image.Image:
    """Return the image that an array [H, W] (grey) or [H, W, C] holds, C being 1 (grey), 3 (RGB) or 4 (RGBA).

    uint8 is taken as it is; floats go from 0 to 1 and are rounded to 255 steps.

    Raises:
        UsageError: it has another shape or type, or floats beyond 0 to 1; the message calls it `name`.
    """
    if array.ndim not in (2, 3) or not array.size or (array.ndim == 3 and array.shape[2] not in _COLOURS):
        raise UsageError(
            f"{name}: an array of the shape {list(array.shape)}; expected [height, width] of a grey image, or [height, "
            "width, 3] with the colours last: see numpy.moveaxis"
        )
    grey = array.ndim == 2 or array.shape[2] == 1
    return Image.fromarray(_to_bytes(array.reshape(array.shape[:2]) if grey else array, name))


def _to_bytes(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise UsageError(f"{name}: an array of {array.dtype}; expected uint8, or floats from 0 to 1")
    least, most = float(array.min()), float(array.max())
    if not (least >= -_ROUNDING and most <= 1 + _ROUNDING):  # NaN, too
        raise UsageError(
            f"{name}: floats from {least:g} to {most:g}; expected 0 to 1, or uint8: undo what normalised them, or what "
            "scaled them"
        )
    return np.ascontiguousarray(np.rint(array.clip(0, 1).astype(np.float64) * _LARGEST).astype(np.uint8))
