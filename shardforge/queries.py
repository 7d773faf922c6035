"""The statements in `sql/`: one file each, named verb_noun, readable and runnable by hand."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@cache
def load_query(name: str) -> str:
    """Return the text of `sql/NAME.sql`.

    The folder lies inside the package in an installed wheel and beside it in a checkout.

    Raises:
        FileNotFoundError: there is no such statement.
    """
    for folder in (_PACKAGE / "sql", _PACKAGE.parent / "sql"):
        path = folder / f"{name}.sql"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"sql/{name}.sql is neither in the installed package nor beside it")
