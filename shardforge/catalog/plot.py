"""The long tail as a picture: classes by rank of size, both axes in powers of ten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from shardforge.files import atomic_write

#: (images in a class, number of such classes), the largest first.
Curve = Sequence[tuple[int, int]]

_WIDTH, _HEIGHT = 960, 600
_LEFT, _RIGHT, _TOP, _BOTTOM = 110, 40, 60, 80
_SMOOTHING = 3  # drawn so many times larger, then scaled down
_INK, _GRID, _LINE = (40, 40, 40), (225, 225, 225), (31, 119, 180)


def draw_long_tail(curve: Curve, path: Path, *, title: str) -> None:
    """Draw how many images the n-th largest class has, as a PNG."""
    picture = Image.new("RGB", (_WIDTH * _SMOOTHING, _HEIGHT * _SMOOTHING), "white")
    axes = _Axes(ImageDraw.Draw(picture), classes=sum(count for _, count in curve), most_images=curve[0][0])
    axes.draw_grid()
    axes.draw_curve(curve)
    axes.write_labels(title)
    with atomic_write(path) as file:
        picture.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)


class _Axes:
    """Logarithmic axes from 1 to the power of ten above the largest value, and what is drawn on them."""

    def __init__(self, draw: ImageDraw.ImageDraw, *, classes: int, most_images: int) -> None:
        self._draw = draw
        self._decades_x = max(1, math.ceil(math.log10(classes)))
        self._decades_y = max(1, math.ceil(math.log10(most_images)))

    def _x(self, place: float) -> float:
        return (_LEFT + math.log10(place) / self._decades_x * (_WIDTH - _LEFT - _RIGHT)) * _SMOOTHING

    def _y(self, images: float) -> float:
        return (_HEIGHT - _BOTTOM - math.log10(images) / self._decades_y * (_HEIGHT - _TOP - _BOTTOM)) * _SMOOTHING

    def _write(self, place: tuple[float, float], text: str, anchor: str, size: int = 18) -> None:
        self._draw.text(place, text, _INK, ImageFont.load_default(size * _SMOOTHING), anchor=anchor)

    def draw_grid(self) -> None:
        """Draw a line and a number at each power of ten."""
        gap = 10 * _SMOOTHING
        for power in range(self._decades_x + 1):
            x = self._x(10**power)
            self._draw.line([(x, self._y(1)), (x, self._y(10**self._decades_y))], _GRID, _SMOOTHING)
            self._write((x, self._y(1) + gap), f"{10**power:,}", "mt")
        for power in range(self._decades_y + 1):
            y = self._y(10**power)
            self._draw.line([(self._x(1), y), (self._x(10**self._decades_x), y)], _GRID, _SMOOTHING)
            self._write((self._x(1) - gap, y), f"{10**power:,}", "rm")

    def draw_curve(self, curve: Curve) -> None:
        """Draw the steps of the curve: all classes of one size are a level piece."""
        points: list[tuple[float, float]] = []
        place = 1
        for images, classes in curve:
            points += [(self._x(place), self._y(images)), (self._x(place + classes - 1), self._y(images))]
            place += classes
        self._draw.line(points, _LINE, 3 * _SMOOTHING, joint="curve")

    def write_labels(self, title: str) -> None:
        """Write the title and what the axes count."""
        middle = (_LEFT + _WIDTH - _RIGHT) / 2 * _SMOOTHING
        self._write((middle, _TOP / 2 * _SMOOTHING), title, "mm", 22)
        self._write((middle, (_HEIGHT - 18) * _SMOOTHING), "classes, the largest first", "mm")
        self._write((12 * _SMOOTHING, _TOP / 2 * _SMOOTHING), "images", "lm")
