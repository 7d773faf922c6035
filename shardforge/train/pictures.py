"""Pictures beside the checkpoints: the course of the loss, and what pre-training makes of hidden parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from shardforge.files import atomic_write

#: Drawn twice as large as saved, for smooth lines.
_WIDTH, _HEIGHT = 1920, 1080
_LEFT, _RIGHT, _TOP, _BOTTOM = 180, 60, 100, 120
_LINES = 6
_INK, _GRID = (40, 40, 40), (225, 225, 225)
_COLOURS = {"loss": (31, 119, 180), "validation_loss": (214, 90, 30)}
_GAP = 4

Curve = list[tuple[int, float]]


def draw_loss(records: Sequence[dict[str, Any]], path: Path, *, title: str) -> None:
    """Draw the losses of a run's log over the optimiser's steps, as a PNG."""
    curves: dict[str, Curve] = {name: _curve(records, name) for name in _COLOURS}
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return
    last = max(update for update, _ in points) or 1
    losses = _round_numbers(min(loss for _, loss in points), max(loss for _, loss in points))
    low, high = losses[0], losses[-1]
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(picture)

    def place(update: float, loss: float) -> tuple[float, float]:
        x = _LEFT + update / last * (_WIDTH - _LEFT - _RIGHT)
        return x, _TOP + (high - loss) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    for loss in losses:
        draw.line([place(0, loss), place(last, loss)], _GRID, 2)
        _write(draw, (_LEFT - 16, place(0, loss)[1]), f"{loss:.4g}", "rm")
    for update in _round_numbers(0, last, least=1):
        if update <= last:
            _write(draw, (place(update, low)[0], _HEIGHT - _BOTTOM + 16), f"{update:,.0f}", "mt")
    for name, curve in curves.items():
        draw.line([place(*point) for point in curve], _COLOURS[name], 4, joint="curve")
        for point in curve[-1:]:
            draw.circle(place(*point), 8, _COLOURS[name])
    validation = " (validation in orange)" if curves["validation_loss"] else ""
    _write(draw, (_WIDTH / 2, _TOP / 2), f"{title}: loss over steps{validation}", "mm")
    _save(picture.reduce(2), path)


def draw_reconstructions(rows: Sequence[Sequence[npt.NDArray[np.uint8]]], path: Path) -> None:
    """Lay out images [3, H, W] in rows, one for each image: as it is, with hidden parts grey, and as predicted."""
    height, width = rows[0][0].shape[1:]
    sheet = Image.new("RGB", (len(rows[0]) * (width + _GAP) - _GAP, len(rows) * (height + _GAP) - _GAP), "white")
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            corner = (column * (width + _GAP), row * (height + _GAP))
            sheet.paste(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))), corner)
    _save(sheet, path)


def _curve(records: Sequence[dict[str, Any]], name: str) -> Curve:
    """Return the losses of the steps; of those that a resumed run took again, the later ones."""
    return sorted({record["update"]: record[name] for record in records if name in record}.items())


def _round_numbers(low: float, high: float, *, least: float = 0.0) -> list[float]:
    """Return about `_LINES` round numbers, `least` or more apart, from `low` or below to `high` or above."""
    rough = max((high - low) / _LINES, least, abs(high) * 1e-3, 1e-9)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [step * number for number in range(first, last + 1)]


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, anchor: str) -> None:
    draw.text(place, text, _INK, ImageFont.load_default(32), anchor=anchor)


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_write(path) as file:
        picture.save(file, "PNG")
