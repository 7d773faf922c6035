"""What tells the files of the two engines apart: their first bytes."""

from __future__ import annotations

from pathlib import Path

from shardforge.errors import MappingMissingError

#: Engine: what it is called, how its files end, and the bytes that tell them, with the place where they stand.
_SIGNS = {"duckdb": ("DuckDB", ".duckdb", 8, b"DUCK"), "sqlite": ("SQLite", ".sqlite", 0, b"SQLite format 3\0")}


def explain_foreign_file(path: Path, engine: str) -> MappingMissingError:
    """Return the sentence for a file that `engine` has refused as no database of its own.

    Only then: to close a file takes away the locks that this process has on it.
    """
    with open(path, "rb") as file:
        head = file.read(16)
    if not head:
        return MappingMissingError(f"{path}: an empty file, so no mapping; remove it, and `shardforge map` makes one")
    for name, suffix, start, sign in _SIGNS.values():
        if head.startswith(sign, start):
            return MappingMissingError(
                f"{path}: a {name} database, which its suffix does not say; rename it so that it ends in {suffix}"
            )
    return MappingMissingError(f"{path}: not a {_SIGNS[engine][0]} database; give --db another name")
