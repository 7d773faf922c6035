"""Questions to a mapping in SQL that anyone may have written: they can read it, and do nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from shardforge.errors import UsageError
from shardforge.mapping.base import Answer, Mapping, Statement

_PLACE = re.compile(r"^LINE (\d+):", re.MULTILINE)
#: What DuckDB adds to its first sentences: the line itself, and every function that there is.
_ADDED = re.compile(r"\n+(LINE \d+:|\s*Candidate functions:).*", re.DOTALL)
_REFUSED = re.compile(
    r"read-only|readonly|not authorized|denied|prohibited|Permission Error|configuration has been locked|unsafe use",
    re.IGNORECASE,
)
_MISSING = re.compile(r"Values were not provided|did not supply a value|Incorrect number of bindings")
_LONGEST = 500


def ask(mapping: Mapping, script: str, values: dict[str, str], *, name: str) -> Iterator[Answer]:
    """Run the statements of `script`, which is called `name`, and yield the answer of each that has one.

    `values` are those of its `$name` parameters, as text. From here on `mapping` answers questions alone: nothing is
    written, and no other file and no address is opened. Read the rows of an answer before you take the next.

    Raises:
        UsageError: a statement is wrong, would do something else than read, or lacks a value; or there is none.
    """
    if unused := values.keys() - set(re.findall(r"\$(\w+)", script)):
        raise UsageError(f"--set {min(unused)}: {name} has no ${min(unused)}; leave it out, or mend the name")
    for text in (script, *values.values()):
        _require_text(text, name)
    mapping.confine()
    with _sentences(mapping, name, Statement(1, 1, 1, None)):
        statements = mapping.split(script)
    if not statements:
        raise UsageError(f"{name}: holds no statement; expected SQL such as SELECT count(*) FROM images")
    for statement in statements:
        with _sentences(mapping, name, statement):
            answer = mapping.answer(statement, values)
        if answer is not None:
            yield Answer(answer.columns, _read(mapping, answer, name, statement))


def _require_text(text: str, name: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{name}: is no UTF-8 text ({error}); mend it, for instance by iconv -f latin1") from error


def _read(mapping: Mapping, answer: Answer, name: str, statement: Statement) -> Iterator[tuple[object, ...]]:
    with _sentences(mapping, name, statement):
        yield from answer.rows


@contextmanager
def _sentences(mapping: Mapping, name: str, statement: Statement) -> Iterator[None]:
    """Raise one sentence, with the line, for what the engine says of a statement."""
    try:
        with mapping.explained():
            yield
    except mapping.errors as error:
        text = str(error)
        sentence = " ".join(_ADDED.sub("", text).split())[:_LONGEST].rstrip(".!")
        raise UsageError(f"{name}, {_find_line(text, statement)}: {sentence}{_advise(text)}") from error


def _find_line(text: str, statement: Statement) -> str:
    if found := _PLACE.search(text):
        return f"line {statement.start + int(found[1]) - 1}"
    if statement.first == statement.last:
        return f"line {statement.first}"
    return f"lines {statement.first} to {statement.last}"


def _advise(text: str) -> str:
    if _REFUSED.search(text):
        return "; `shardforge sql` reads the mapping and does nothing else"
    if _MISSING.search(text):
        return "; give it by --set NAME=VALUE"
    return ""
