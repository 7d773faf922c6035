"""Pieces of Markdown: tables, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def format_bytes(size: int) -> str:
    """Return a number of bytes in the largest unit that fits, powers of 1,000."""
    amount = float(size)
    for unit in _UNITS:
        if amount < 999.95 or unit == _UNITS[-1]:
            return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError("the last unit takes all")


def make_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; columns of numbers are aligned to the right."""
    kept = [list(row) for row in rows]
    numeric = [bool(kept) and all(isinstance(row[i], int | float) for row in kept) for i in range(len(header))]
    lines = [
        list(header),
        ["---:" if right else "---" for right in numeric],
        *([_cell(value) for value in row] for row in kept),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.1f}%"
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
