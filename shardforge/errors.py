"""What can go wrong, and what the command line makes of it.

    ShardforgeError            exit 1: one sentence, no traceback
    ├── UsageError             exit 2: what was asked for cannot be done as asked
    ├── SourceError            a source cannot be listed
    ├── MappingError           the database is locked, of another version, or holds what it should not
    ├── SplitError             an empty split, impossible shares
    ├── ImageError             one image that cannot be used; `.reason` is a code of `shardforge.reasons`
    ├── DatasetError           a dataset folder holds something else, or cannot be written
    │   ├── NewerFormError     a newer release wrote it, in a form that this one does not read
    │   └── ManifestError      `_info.json` is no JSON, or disagrees with itself
    │       └── ManifestMissingError   exit 2: there is none
    ├── BudgetExceededError    more bad images than `--max-bad` allows
    └── TaskError              a unit of work failed for good; `.task` names it

Every message says what is wrong, where, what was expected and what to do. Errors cross process borders, so each class
survives pickling: one positional message, extras as keywords with defaults.
"""

from __future__ import annotations

from typing import Any


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
    """A unit of work failed for good after its retries; `task` names it."""

    def __init__(self, message: str, *, task: str = "") -> None:
        super().__init__(message)
        self.task = task

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args[0], {"task": self.task})


def _rebuild(kind: type[ShardforgeError], message: str, extras: dict[str, Any]) -> ShardforgeError:
    return kind(message, **extras)
