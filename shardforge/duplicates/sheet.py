"""A contact sheet: pairs of images side by side with captions, as one PNG for a person to judge."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from shardforge.errors import ImageError
from shardforge.files import atomic_write
from shardforge.images.convert import Conversion, choose_codec, convert_image
from shardforge.mapping import Mapping
from shardforge.sources.reading import read_record

_PICTURE = (260, 195)
_GAP = 8
_MARGIN = 20
_COLUMNS = 2
_TEXT_SIZE = 13
_LINE = 17
_TITLE = 22
_INK, _PAPER, _EMPTY = "#202020", "#ffffff", "#e4e4e4"
_ELLIPSIS = "…"


@dataclass(frozen=True)
class Picture:
    """An image on a sheet: the lines under it, and where `read_record` finds it."""

    caption: Sequence[str]
    root: str
    path: str
    offset: int | None
    bytes: int
    mtime: int


@dataclass(frozen=True)
class PicturePair:
    """Two images that stand side by side under a title."""

    title: str
    left: Picture
    right: Picture


def mapped_picture(mapping: Mapping, key: str, lines: Sequence[str]) -> Picture:
    """Return the picture of a mapped record."""
    [place] = mapping.rows(
        'SELECT s.root, i.path, i."offset", i.bytes, i.mtime FROM images AS i JOIN sources AS s ON s.name = i.source'
        " WHERE i.key = $key",
        key=key,
    )
    return Picture(lines, *place)


def caption(image: str, label: str | None, split: str | None) -> tuple[str, str]:
    """Return the lines under a picture."""
    about = "; ".join([f"label {label}" if label else "no label", *([f"split {split}"] if split else [])])
    return _drawable(image), _drawable(about)


def _drawable(text: str) -> str:
    """Return a text in the letters that Pillow's font has, all ASCII: accents go, what is left stands as its escape."""
    letters = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(x if x.isascii() and x.isprintable() else x.encode("unicode_escape").decode() for x in letters)


def write_sheet(path: Path, pairs: Sequence[PicturePair]) -> None:
    """Draw the pairs in their order and write the PNG; an image that cannot be read is a grey field that says why.

    Without pairs there is no sheet, and one of an earlier run goes.

    Raises:
        DatasetError: the place cannot be written.
    """
    if not pairs:
        path.unlink(missing_ok=True)
        return
    lines = max(len(side.caption) for pair in pairs for side in (pair.left, pair.right))
    cell = (2 * _PICTURE[0] + _GAP, _TITLE + _PICTURE[1] + lines * _LINE)
    rows = -(-len(pairs) // _COLUMNS)
    size = (
        _MARGIN + min(len(pairs), _COLUMNS) * (cell[0] + _MARGIN),
        _MARGIN + rows * (cell[1] + _MARGIN),
    )
    sheet = Image.new("RGB", size, _PAPER)
    for number, pair in enumerate(pairs):
        row, column = divmod(number, _COLUMNS)
        _draw_pair(sheet, pair, _MARGIN + column * (cell[0] + _MARGIN), _MARGIN + row * (cell[1] + _MARGIN))
    with atomic_write(path) as file:
        sheet.save(file, "PNG")


def _draw_pair(sheet: Image.Image, pair: PicturePair, left: int, top: int) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_SIZE)
    draw.text((left, top), _shorten(pair.title, 2 * _PICTURE[0], font), _INK, ImageFont.load_default(_TEXT_SIZE + 2))
    top += _TITLE
    for side, picture in enumerate((pair.left, pair.right)):
        x = left + side * (_PICTURE[0] + _GAP)
        _draw_picture(sheet, draw, picture, x, top)
        for line, text in enumerate(picture.caption):
            shown = _shorten(text, _PICTURE[0], font)
            draw.text((x, top + _PICTURE[1] + 2 + line * _LINE), shown, _INK, font)


def _draw_picture(sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: Picture, left: int, top: int) -> None:
    width, height = _PICTURE
    draw.rectangle((left, top, left + width - 1, top + height - 1), _EMPTY)
    try:
        small = _read_small(picture)
    except ImageError as error:
        draw.text(
            (left + _GAP, top + _GAP), f"cannot be shown: {error.reason}", _INK, ImageFont.load_default(_TEXT_SIZE)
        )
        return
    sheet.paste(small, (left + (width - small.width) // 2, top + (height - small.height) // 2))


def _read_small(picture: Picture) -> Image.Image:
    data = read_record(picture.root, picture.path, picture.offset, picture.bytes, picture.mtime)
    conversion = Conversion(size=_PICTURE, resize="longest", upscale=True, format="png", codec=choose_codec("auto"))
    return Image.open(io.BytesIO(convert_image(data, conversion).data))


def _shorten(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut the middle out of a text that is wider than `width` pixels: paths differ most at their ends."""
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 2 and font.getlength(text[: kept // 3] + _ELLIPSIS + text[len(text) - kept + kept // 3 :]) > width:
        kept -= 1
    return text[: kept // 3] + _ELLIPSIS + text[len(text) - kept + kept // 3 :]
