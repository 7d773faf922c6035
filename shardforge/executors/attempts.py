"""One try of a task, made in a worker, and the queue of tasks that judges it in the driver.

The executors share this; they differ only in how a task reaches its worker.
"""

from __future__ import annotations

import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

from shardforge.errors import ShardforgeError, TaskError, UsageError, WorkerLostError
from shardforge.executors.base import Divisible, TaskResult
from shardforge.executors.items import NOWHERE, UNBORN, watched_task

Task = TypeVar("Task")

_NAME_LENGTH = 120


@dataclass(frozen=True)
class Loss:
    """How a worker ended that answers no more, by which signal (0: by none), and at which item, if it said so."""

    how: str
    signal: int = 0
    position: int = NOWHERE


@dataclass(frozen=True)
class Attempt:
    """What one try came to: a value, an error that is final, or a failure or loss that another try may mend."""

    value: Any = None
    error: ShardforgeError | None = None
    failure: str = ""
    trace: str = ""
    loss: Loss | None = None


def try_task(function: Callable[[Any], Any], task: Any) -> Attempt:
    """Call `function(task)`; whatever it raises becomes part of the attempt."""
    try:
        return Attempt(value=function(task))
    except ShardforgeError as error:
        return Attempt(error=error)
    except ImportError as error:
        return Attempt(error=UsageError(f"a worker cannot import what it needs ({error}); install there what is here"))
    except Exception as error:
        return Attempt(failure=_describe(error), trace=traceback.format_exc())


def answer_message(message: bytes, dumps: Callable[[Attempt], bytes] = pickle.dumps) -> bytes:
    """Try the task in a pickled `(function, task)` and return the pickled attempt: all that a worker does.

    What cannot be pickled or unpickled becomes a `TaskError` that says so.
    """
    try:
        function, task = pickle.loads(message)
    except Exception as error:
        return dumps(Attempt(error=TaskError(f"cannot be unpickled by a worker ({_describe(error)})")))
    with watched_task():
        attempt = try_task(function, task)
    try:
        return dumps(attempt)
    except Exception as error:
        kind = type(attempt.value if attempt.error is None else attempt.error).__name__
        return dumps(Attempt(error=TaskError(f"came to a {kind}, which cannot be pickled ({_describe(error)})")))


def decode_attempt(message: bytes) -> Attempt:
    """Unpickle an attempt; one that cannot be unpickled becomes a `TaskError` that says so."""
    try:
        attempt: Attempt = pickle.loads(message)
    except Exception as error:
        return Attempt(error=TaskError(f"came to what cannot be unpickled ({_describe(error)})"))
    return attempt


@dataclass
class Job(Generic[Task]):
    """A task on its way, and how many of its tries have failed."""

    task: Task
    failures: int = 0

    def encode(self, function: Callable[[Task], Any], dumps: Callable[[Any], bytes] = pickle.dumps) -> bytes:
        """Pickle the function and the task for `answer_message`.

        Raises:
            TaskError: they cannot be pickled.
        """
        try:
            return dumps((function, self.task))
        except Exception as error:
            raise self.failed(f"cannot be pickled ({_describe(error)})") from error

    def failed(self, what: str, trace: str = "") -> TaskError:
        """Return the error of a task that has failed for good."""
        name = _name_task(self.task)
        error = TaskError(f"task {name} {what}", task=name)
        if trace:
            error.add_note(trace)
        return error

    def give_up(self, attempt: Attempt) -> TaskError:
        """Return the error of a task whose last try was `attempt`."""
        times = "once" if self.failures == 1 else f"{self.failures} times"
        why = f"its worker {attempt.loss.how}" if attempt.loss else attempt.failure
        error = self.failed(f"failed {times}; the last time: {why}", attempt.trace)
        if attempt.loss is not None and attempt.loss.position == UNBORN:
            return error  # not of the task's making
        error.why = why
        if attempt.loss is None:
            return error
        loss = attempt.loss
        return WorkerLostError(str(error), task=error.task, why=why, signal=loss.signal, position=loss.position)


class JobQueue(Generic[Task]):
    """Tasks, drawn from their iterable one by one as workers ask, and those that are to be tried again."""

    def __init__(self, tasks: Iterable[Task], retries: int) -> None:
        self._fresh = map(Job, tasks)
        self._again: deque[Job[Task]] = deque()
        self._retries = retries

    def take(self) -> Job[Task] | None:
        """Return the next job, or None when there is none now."""
        return self._again.popleft() if self._again else next(self._fresh, None)

    def judge(self, job: Job[Task], attempt: Attempt) -> TaskResult[Task, Any] | None:
        """Return the task's result, or queue the job, or its parts, for another try and return None."""
        if attempt.failure or attempt.loss:
            if parts := _cut(job.task, attempt.loss.position if attempt.loss else NOWHERE):
                self._again.extend(map(Job, parts))
                return None
            job.failures += 1
            # What took too long once would do so again, and cost as much.
            late = attempt.loss is not None and attempt.loss.signal == signal.SIGALRM
            if job.failures <= self._retries and not late:
                self._again.append(job)
                return None
            return TaskResult(job.task, error=job.give_up(attempt))
        if isinstance(attempt.error, TaskError) and not attempt.error.task:
            return TaskResult(job.task, error=job.failed(str(attempt.error)))
        return TaskResult(job.task, attempt.value, attempt.error)


def _cut(task: Task, position: int) -> list[Task]:
    """Return the parts of a task of several items: before, at and after a position, or halves where that is unknown."""
    if position == UNBORN or not isinstance(task, Divisible) or len(task) < 2:
        return []
    inside = 0 <= position < len(task)
    cuts = [0, *([position, position + 1] if inside else [len(task) // 2]), len(task)]
    return [task.part(first, end) for first, end in pairwise(cuts) if first < end]


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _name_task(task: object) -> str:
    name = " ".join(repr(task).split())
    return name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}..."
