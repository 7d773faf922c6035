"""Options that several commands share, and the two ways in which every command prints its result."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from shardforge.duplicates import DEFAULT_DISTANCE, MAX_DISTANCE

Command = TypeVar("Command", bound=Callable[..., Any])

_GAP = "  "
#: Letters on a line of a table, and those that a column of text keeps however long the line is.
LINE = 100
_NARROWEST = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def db_option(command: Command) -> Command:
    """Add `--db`, the mapping database."""
    return click.option(
        "--db",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
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
            "--workers", type=click.IntRange(min=0), default=None, help="Worker processes. [default: one per core]"
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
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


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
            type=click.Path(file_okay=False, path_type=Path),
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


def print_json(result: Any) -> None:
    """Print one JSON object on stdout."""
    click.echo(json.dumps(result, ensure_ascii=False, indent=2))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns on stdout: text to the left, numbers to the right with thousands separators.

    Text is cut, the widest columns first, where a line would be longer than a terminal is wide.
    """
    kept = [list(row) for row in rows]
    numeric = [all(row[i] is None or isinstance(row[i], int | float) for row in kept) for i in range(len(header))]
    lines = [list(header), *([_cell(value) for value in row] for row in kept)]
    widths = _fit([max(len(line[i]) for line in lines) for i in range(len(header))], numeric)
    for line in lines:
        padded = (
            text.rjust(width) if right else _shorten(text, width).ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        click.echo(_GAP.join(padded).rstrip())


def _fit(widths: list[int], numeric: Sequence[bool]) -> list[int]:
    """Return the widths with the widest columns of text made narrower, until a line of all has `LINE` letters."""
    room = LINE - len(_GAP) * (len(widths) - 1)
    while sum(widths) > room:
        widest = max((width for width, fixed in zip(widths, numeric, strict=True) if not fixed), default=0)
        if widest <= _NARROWEST:
            break
        widths[max(i for i, width in enumerate(widths) if width == widest and not numeric[i])] -= 1
    return widths


def _shorten(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in str(value))


def one_line(text: str) -> str:
    """Return text that stays on its line, as a name with a line break in it would not."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
