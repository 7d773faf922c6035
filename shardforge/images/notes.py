"""Notes: what there is to say about an image that is used all the same.

Whoever wants them opens a collector; what this package and the libraries below it remark in the same thread goes there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

#: A file can make a library speak without end: more notes than these, and what is longer, is left out.
MOST_NOTES = 5
MOST_LETTERS = 200


class Notes:
    """Collects short texts, each once; `with` opens it for its thread."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts: dict[str, None] = {}
        self._before: Notes | None = None
        for text in texts:
            self.add(text)

    def __enter__(self) -> Notes:
        self._before, _local.notes = _local.notes, self
        return self

    def __exit__(self, *error: object) -> None:
        _local.notes = self._before

    def add(self, text: str) -> None:
        """Add a text on one line, made printable and cut to `MOST_LETTERS`."""
        if len(self._texts) < MOST_NOTES:
            letters = (letter if letter.isprintable() else " " for letter in text[: 4 * MOST_LETTERS])
            line = " ".join("".join(letters).split())
            self._texts.setdefault(line if len(line) <= MOST_LETTERS else line[: MOST_LETTERS - 1] + "…")

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, in the order in which they came."""
        return tuple(self._texts)


class _Local(threading.local):
    notes: Notes | None = None


_local = _Local()


def current_notes() -> Notes | None:
    """Return the collector that is open in this thread."""
    return _local.notes


def add_note(text: str) -> None:
    """Give a text to the collector that is open in this thread, if there is one."""
    if _local.notes is not None:
        _local.notes.add(text)


def collecting_notes(texts: Iterable[str] = ()) -> Notes:
    """Return a collector that has `texts` already, for a `with`; one that was open before gets nothing meanwhile."""
    return Notes(texts)


def joining_notes() -> AbstractContextManager[Notes]:
    """Return the collector that is open in this thread, or one for the time being, for a `with`."""
    return Notes() if _local.notes is None else nullcontext(_local.notes)
