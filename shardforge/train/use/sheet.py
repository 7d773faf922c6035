"""A contact sheet of a search: each query with what was found for it, as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from shardforge.files import atomic_write

#: Pixels of an image's side.
SIDE = 144
_GAP, _LINE, _TEXT_SIZE, _FRAME = 10, 15, 12, 3
_INK, _PAPER = "#202020", "#ffffff"
_RIGHT, _WRONG = "#2a9d48", "#d1495b"
_ELLIPSIS = "…"


@dataclass(frozen=True)
class Tile:
    """An image of SIDE x SIDE pixels, the lines under it, and whether it is a hit (None: not known)."""

    image: Image.Image
    caption: Sequence[str]
    hit: bool | None = None


def write_sheet(path: Path, rows: Sequence[Sequence[Tile]]) -> None:
    """Draw rows of tiles, the query first, and write the PNG; hits have a green frame, misses a red one.

    Raises:
        DatasetError: the place cannot be written.
    """
    lines = max(len(tile.caption) for row in rows for tile in row)
    width, height = SIDE + _GAP, SIDE + _GAP + lines * _LINE
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (_GAP + width * columns + _GAP, _GAP + height * len(rows)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_SIZE)
    for row, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            # What was found stands apart from what was asked.
            left, top = _GAP + column * width + (_GAP if column else 0), _GAP + row * height
            sheet.paste(tile.image, (left, top))
            if tile.hit is not None:
                box = (left - _FRAME, top - _FRAME, left + SIDE + _FRAME - 1, top + SIDE + _FRAME - 1)
                draw.rectangle(box, outline=_RIGHT if tile.hit else _WRONG, width=_FRAME)
            for line, text in enumerate(tile.caption):
                draw.text((left, top + SIDE + 3 + line * _LINE), _shorten(text, font), _INK, font)
    with atomic_write(path) as file:
        sheet.save(file, "PNG")


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut the start off a text that is wider than an image: names of files differ at their ends."""
    if font.getlength(text) <= SIDE:
        return text
    while text and font.getlength(_ELLIPSIS + text) > SIDE:
        text = text[1:]
    return _ELLIPSIS + text
