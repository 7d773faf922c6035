"""What can go wrong, and what the command line makes of it.

    ShardforgeError            exit 1: one sentence, no traceback
    ├── UsageError             exit 2: what was asked for cannot be done as asked
    ├── SourceError            a source cannot be listed
    ├── MappingError           the database is locked, of another version, or holds what it should not
    │   └── MappingMissingError    exit 2: there is none, or the file is something else
    ├── SplitError             an empty split, impossible shares
    ├── ImageError             one image that cannot be used; `.reason` is a code of `shardforge.reasons`
    ├── DatasetError           a dataset folder holds something else, or cannot be written
    │   ├── NewerFormError     a newer release wrote it, in a form that this one does not read
    │   └── ManifestError      `_info.json` is no JSON, or disagrees with itself
    │       └── ManifestMissingError   exit 2: there is none
    ├── BudgetExceededError    more bad images than `--max-bad` allows
    └── TaskError              a unit of work failed for good; `.task` names it, `.why` says why
        └── WorkerLostError    it killed its worker process each time; `.signal` says how, `.position` where

Every message says what is wrong, where, what was expected and what to do; what it quotes from a file is cut. Errors
cross process borders, so each class survives pickling: one positional message, extras as keywords with defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

_MOST_LETTERS = 60
_MOST_NAMES = 12


class ShardforgeError(Exception):
    """Base of every error that is the user's to act on."""

    exit_code = 1


class UsageError(ShardforgeError):
    """The request contradicts itself or names something that is not there."""

    exit_code = 2


class SourceError(ShardforgeError):
    """A source cannot be listed."""


class MappingError(ShardforgeError):
    """The mapping database cannot be used as asked."""


class MappingMissingError(MappingError):
    """There is no mapping where one was named: nothing at all, or something else."""

    exit_code = 2


class SplitError(ShardforgeError):
    """The asked split cannot be made."""


class ImageError(ShardforgeError):
    """One image cannot be used; `reason` is a code of `shardforge.reasons`."""

    def __init__(self, message: str, *, reason: str = "corrupt") -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args[0], {"reason": self.reason})


class DatasetError(ShardforgeError):
    """A dataset folder cannot be written or read as asked."""


class NewerFormError(DatasetError):
    """A newer release wrote this, in a form that this one does not read; nothing is to be written there."""


class ManifestError(DatasetError):
    """`_info.json` is not JSON, or disagrees with itself."""


class ManifestMissingError(ManifestError):
    """There is no `_info.json` where one was named."""

    exit_code = 2


class BudgetExceededError(ShardforgeError):
    """More images were bad than the run was told to accept."""


class TaskError(ShardforgeError):
    """A unit of work failed for good after its retries; `task` names it, `why` is what it came to by its own making."""

    def __init__(self, message: str, *, task: str = "", why: str = "") -> None:
        super().__init__(message)
        self.task = task
        self.why = why

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args[0], {"task": self.task, "why": self.why})


class WorkerLostError(TaskError):
    """A unit of work killed its worker process at each try.

    `signal` did it (0: none), at the item with the number `position` (negative: at none, or it is not known).
    """

    def __init__(self, message: str, *, task: str = "", why: str = "", signal: int = 0, position: int = -1) -> None:
        super().__init__(message, task=task, why=why)
        self.signal = signal
        self.position = position

    def __reduce__(self) -> tuple[Any, ...]:
        extras = {name: getattr(self, name) for name in ("task", "why", "signal", "position")}
        return _rebuild, (type(self), self.args[0], extras)


def _rebuild(kind: type[ShardforgeError], message: str, extras: dict[str, Any]) -> ShardforgeError:
    return kind(message, **extras)


def shorten(text: object, most: int = _MOST_LETTERS) -> str:
    """Return what a message quotes from a file: in one line, what cannot be printed escaped, cut to `most` letters."""
    whole = str(text)
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in whole[:most])
    return shown if len(whole) <= most else f"{shown}…"


def shorten_list(names: Iterable[object]) -> str:
    """Return names as a message lists them: the first few, each cut, and how many more there are; "none" for none."""
    rest = iter(names)
    shown = ", ".join(map(shorten, islice(rest, _MOST_NAMES)))
    more = sum(1 for _ in rest)
    return f"{shown} and {more:,} more" if more else shown or "none"
