"""`shardforge sql`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from shardforge.cli.answers import print_csv, print_objects, print_rows
from shardforge.cli.options import LocalPath, print_json, print_table
from shardforge.errors import UsageError
from shardforge.files import decode_text
from shardforge.progress import Progress
from shardforge.queries import list_questions

if TYPE_CHECKING:
    from shardforge.mapping import Mapping
    from shardforge.mapping.base import Answer

_MOST_BYTES = 16 << 20


@click.command("sql", short_help="Ask a mapping in SQL; copy it into another form.")
@click.argument("db", type=LocalPath(dir_okay=False))
@click.argument("statement", required=False, metavar="[NAME|FILE|-]")
@click.option("-c", "--query", metavar="SQL", help="Statements to run, in place of NAME, FILE or -.")
@click.option(
    "--set", "values", multiple=True, metavar="NAME=VALUE", help="Text for the parameter $NAME of them. Repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as a JSON array of objects.")
@click.option("--csv", "as_csv", is_flag=True, help="Print rows as CSV, under a line with the names of the columns.")
@click.option(
    "--convert",
    type=LocalPath(dir_okay=False),
    metavar="NEW",
    help="Copy the mapping into the new file NEW: of the other engine, or of a form that every DuckDB reads.",
)
def sql_command(
    db: Path,
    statement: str | None,
    query: str | None,
    values: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
    convert: Path | None,
) -> None:
    """Ask the mapping DB in SQL: by a statement's NAME in sql/, by a FILE, or by what stdin holds (-).

    \b
    shardforge sql mapping.duckdb count_by_class
    shardforge sql mapping.duckdb -c "SELECT path FROM images WHERE reason = 'truncated'" --csv
    shardforge sql mapping.sqlite - < question.sql
    shardforge sql mapping.duckdb --convert mapping.sqlite

    Without any of them it lists the statements. The mapping is only read: statements cannot change it, nor open any
    other file or address. The terminal shows tables of at most 100 letters a line, or a block for each row where there
    are more columns; --json (an array of objects for each statement) and --csv have all.
    """
    if convert is not None:
        if statement is not None or query is not None or values or as_csv:
            raise click.UsageError("--convert copies a mapping and asks it nothing: give it without statements.")
        _convert(db, convert, as_json=as_json)
        return
    if statement is not None and query is not None:
        raise click.UsageError("Give either NAME, FILE or -, or --query.")
    if as_json and as_csv:
        raise click.UsageError("Give either --json or --csv.")
    if statement is None and query is None:
        _list_statements(as_json=as_json)
        return
    from shardforge.mapping import open_mapping
    from shardforge.mapping.questions import ask

    show: Callable[[Answer], None] = print_objects if as_json else print_csv if as_csv else print_rows
    given = dict(map(_parse_value, values))
    with open_mapping(db) as mapping:
        name, script = ("--query", query) if query is not None else _read_script(statement or "", mapping)
        for number, answer in enumerate(ask(mapping, script, given, name=name)):
            if number and not as_json:
                click.echo()
            show(answer)


def _convert(db: Path, new: Path, *, as_json: bool) -> None:
    from shardforge.mapping.convert import convert_mapping

    with Progress(quiet=as_json) as progress:
        copied = convert_mapping(db, new, progress=progress)
    if as_json:
        print_json({"path": str(new), "rows": copied.rows, "left": copied.left})
        return
    print_table(["table", "rows"], list(copied.rows.items()))
    for what in copied.left:
        click.echo(f"Warning: {what} is of no mapping and was not copied", err=True)
    click.echo(f"{new}: written", err=True)


def _list_statements(*, as_json: bool) -> None:
    questions = list_questions()
    if as_json:
        print_json(questions)
    else:
        print_table(["statement", "what its rows are"], list(questions.items()))


def _parse_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"--set {text}: expected NAME=VALUE, for instance split=train")
    return name, value


def _read_script(statement: str, mapping: Mapping) -> tuple[str, str]:
    """Return what messages call the script that is meant, and its text: a name in sql/, a file, or standard input."""
    if statement == "-":
        return "standard input", _decode("standard input", sys.stdin.buffer)
    questions = list_questions()
    path = Path(statement)
    if statement not in questions and path.exists():
        try:
            with open(path, "rb") as file:
                return statement, _decode(statement, file)
        except OSError as error:
            raise UsageError(f"{statement}: cannot be read ({error.strerror}); name a file of SQL") from error
    name = statement.removesuffix(".sql")
    if name not in questions:
        raise UsageError(
            f"{statement}: neither a file nor a statement for questions; `shardforge sql {mapping.path}` lists these"
        )
    return f"sql/{name}.sql", mapping.query(name)


def _decode(name: str, file: IO[bytes]) -> str:
    data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{name}: more than {_MOST_BYTES >> 20} MiB, which is no question; name a file of SQL")
    return decode_text(data, name)
