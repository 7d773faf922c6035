"""How a pure function is run over tasks: the contract that `local` and `ray` both keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

from shardforge.errors import TaskError, WorkerLostError

Task = TypeVar("Task")
Value = TypeVar("Value")


@dataclass(frozen=True)
class TaskResult(Generic[Task, Value]):
    """What became of one task: a value, or the error that remained after its retries."""

    task: Task
    value: Value | None = None
    error: Exception | None = None

    def unwrap(self) -> Value:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]

    @property
    def failed(self) -> TaskError | None:
        """The error of a task that makes its function or its worker fail; None for all others."""
        return self.error if isinstance(self.error, TaskError) and self.error.why else None

    @property
    def lost(self) -> WorkerLostError | None:
        """The error of a task that kills its worker, None for all others."""
        return self.error if isinstance(self.error, WorkerLostError) else None


@runtime_checkable
class Divisible(Protocol):
    """A task of several items. When it fails it is cut, until the item that makes it fail is alone in its task.

    Where it kills its worker, the function has said which item it was at (`shardforge.executors.items.begin_item`);
    else it is cut in halves.
    """

    def __len__(self) -> int: ...

    def part(self, first: int, end: int) -> Self:
        """Return the task of the items from `first` to `end` - 1."""
        ...


class Executor(Protocol):
    """Runs functions over tasks on workers, which a `with` block keeps.

    `run` yields one `TaskResult` per task as they finish, in any order, and has a bounded number in flight, so `tasks`
    may be a long generator. A `ShardforgeError` surfaces at once; a worker that dies, and any other exception, is tried
    again `retries` times first. A task without a result never passes silently: it surfaces as a `TaskError`, and one
    that kills its worker each time as a `WorkerLostError`. A `Divisible` task that fails has results for its parts.
    Function, tasks and values are pickled. Leaving the block early (an error, Ctrl-C) stops the workers.
    """

    workers: int

    def run(
        self, function: Callable[[Task], Value], tasks: Iterable[Task], *, retries: int = 2
    ) -> Iterator[TaskResult[Task, Value]]:
        """Yield the result of `function(task)` for every task, in the order in which they finish."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
