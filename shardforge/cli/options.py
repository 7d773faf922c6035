"""Options that several commands share, and the two ways in which every command prints its result."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from shardforge.duplicates import DEFAULT_DISTANCE, MAX_DISTANCE
from shardforge.errors import UsageError
from shardforge.paths import require_local

if TYPE_CHECKING:
    from shardforge.samples import Note

Command = TypeVar("Command", bound=Callable[..., Any])

#: More are a slip of the pen; a machine would go down under them.
MOST_WORKERS = 9_999

_GAP = "  "
#: Letters on a line of a table, and those that a column of text keeps however long the line is.
LINE = 100
_NARROWEST = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class LocalPath(click.Path):
    """A path on this machine, as a `Path`: no URL, of which a folder `s3:` would be made here."""

    def __init__(self, *, exists: bool = False, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(exists=exists, file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        name = "path" if param is None else param.human_readable_name
        if isinstance(param, click.Option):
            name = max(param.opts, key=len)
        require_local(os.fspath(value), name)
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not self.file_okay and path.exists() and not path.is_dir():
            raise UsageError(f"{name} {path}: is no folder; give one, or a name for a new one")
        # A relative path that begins as `md:` would be a URL for Arrow and others.
        return path.absolute() if ":" in path.parts[0] else path


def db_option(command: Command) -> Command:
    """Add `--db`, the mapping database."""
    return click.option(
        "--db",
        required=True,
        type=LocalPath(dir_okay=False),
        help="Mapping database; the suffix chooses the engine: .duckdb, or .sqlite (also .db, .sqlite3).",
    )(command)


def executor_options(command: Command) -> Command:
    """Add `--executor`, `--workers` and `--ray-address`: who does the work."""
    for option in (
        click.option(
            "--ray-address",
            metavar="ADDRESS",
            help="Existing Ray cluster, for instance auto or HOST:PORT. [default: start one here]",
        ),
        click.option(
            "--workers",
            type=click.IntRange(0, MOST_WORKERS),
            default=None,
            help="Worker processes. [default: one per core]",
        ),
        click.option(
            "--executor",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="What runs the workers.",
        ),
    ):
        command = option(command)
    return command


class FiniteRange(click.FloatRange):
    """A range of numbers without infinity and NaN, which pass every comparison with an end that is open."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = click.FLOAT.convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return float(super().convert(number, param, ctx))


def trust_option(command: Command) -> Command:
    """Add `--trust`: what a manifest names may lie anywhere."""
    return click.option(
        "--trust", is_flag=True, help="Read what an _info.json names outside of its own folder, too: any file, any URL."
    )(command)


def cache_options(command: Command) -> Command:
    """Add `--cache-dir` and `--cache-size`: where shards behind URLs are kept."""
    for option in (
        click.option(
            "--cache-size",
            type=FiniteRange(min=0),
            default=32.0,
            show_default=True,
            help="GiB of remote shards kept; 0 keeps none and reads the parts that are needed.",
        ),
        click.option(
            "--cache-dir",
            type=LocalPath(file_okay=False),
            help="Folder for shards behind URLs. [default: the user's cache]",
        ),
    ):
        command = option(command)
    return command


def distance_option(command: Command) -> Command:
    """Add `--distance`: how alike two pictures must be."""
    return click.option(
        "--distance",
        type=click.IntRange(0, MAX_DISTANCE),
        default=DEFAULT_DISTANCE,
        show_default=True,
        help="Bits, of 256, in which two pictures may differ; docs/duplicates.md has a table of what that finds.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`: the result as one JSON object on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")(command)


def count_of(number: int, one: str, many: str) -> str:
    """Return a number with the words that agree with it, for instance "1 key moved" and "2 keys moved"."""
    return f"{number:,} {one if number == 1 else many}"


def warn_of_faults(number: int, first: str) -> None:
    """Ask on stderr for a report of images that met a fault of this package; `first` says which one met which."""
    images = count_of(number, "image met a fault", "images met a fault")
    click.echo(
        f"Warning: {images} of shardforge itself (internal_error), for instance {first}; please report it", err=True
    )


def print_notes(notes: Iterable[Note], prefix: str = "") -> None:
    """Say on stderr what a user should know about samples."""
    for note in notes:
        click.echo(f"Note: {prefix}{note.text}", err=True)


def print_json(result: Any) -> None:
    """Print one JSON object on stdout."""
    click.echo(json.dumps(result, ensure_ascii=False, indent=2))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns on stdout: text to the left, numbers to the right with thousands separators.

    Text is cut, the widest columns first, where a line would be longer than a terminal is wide.
    """
    kept = [list(row) for row in rows]
    layout = TableLayout(header, kept)
    click.echo(layout.line(header))
    for row in kept:
        click.echo(layout.line(row))


class TableLayout:
    """How wide the columns of a table are, and which hold numbers; `fits` says whether they fit on a line.

    Found from some of the rows: text of others is cut to that width, numbers are not.
    """

    def __init__(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        columns = range(len(header))
        self._numeric = [all(row[i] is None or isinstance(row[i], int | float) for row in rows) for i in columns]
        lines = [header, *([show_value(value) for value in row] for row in rows)]
        self._widths = _fit([max(len(line[i]) for line in lines) for i in columns], self._numeric)
        self.fits = sum(self._widths) + len(_GAP) * (len(header) - 1) <= LINE

    def line(self, row: Sequence[object]) -> str:
        """Return the line of a row."""
        padded = (
            text.rjust(width) if right else shorten(text, width).ljust(width)
            for text, width, right in zip(map(show_value, row), self._widths, self._numeric, strict=True)
        )
        return _GAP.join(padded).rstrip()


def shorten(text: str, letters: int) -> str:
    """Return text of at most so many letters."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def show_value(value: object) -> str:
    """Return a value as a table shows it, on one line whatever it holds."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in str(value))


def _fit(widths: list[int], numeric: Sequence[bool]) -> list[int]:
    """Return the widths with the widest columns of text made narrower, until a line of all has `LINE` letters."""
    room = LINE - len(_GAP) * (len(widths) - 1)
    while sum(widths) > room:
        widest = max((width for width, fixed in zip(widths, numeric, strict=True) if not fixed), default=0)
        if widest <= _NARROWEST:
            break
        widths[max(i for i, width in enumerate(widths) if width == widest and not numeric[i])] -= 1
    return widths


def one_line(text: str) -> str:
    """Return text that stays on its line, as a name with a line break in it would not."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
