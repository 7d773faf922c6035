"""The statements in `sql/`: one file each, named verb_noun, readable and runnable by hand."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
#: Inside the package in an installed wheel, beside it in a checkout.
_FOLDERS = (_PACKAGE / "sql", _PACKAGE.parent / "sql")
#: How the statements begin that answer a question; the others are steps of the commands.
_QUESTIONS = ("check_", "count_", "leakage_", "list_", "measure_")
_END = re.compile(r"[.:;](?: |$)")


@cache
def load_query(name: str) -> str:
    """Return the text of `sql/NAME.sql`.

    Raises:
        FileNotFoundError: there is no such statement.
    """
    for folder in _FOLDERS:
        path = folder / f"{name}.sql"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"sql/{name}.sql is neither in the installed package nor beside it")


def list_questions() -> dict[str, str]:
    """Return the names of the statements that answer a question, sorted, with what each one's first line says of it."""
    folder = next(folder for folder in _FOLDERS if folder.is_dir())
    names = sorted(path.stem for path in folder.glob("*.sql") if path.name.startswith(_QUESTIONS))
    return {name: _first_sentence(load_query(name)) for name in names}


def _first_sentence(text: str) -> str:
    comment = " ".join(line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--"))
    return _END.split(comment.partition(".sql: ")[2])[0]
