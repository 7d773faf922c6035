"""One try of a task, made in a worker, and the queue of tasks that judges it in the driver.

The executors share this; they differ only in how a task reaches its worker.
"""

from __future__ import annotations

import pickle
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shardforge.errors import ShardforgeError, TaskError
from shardforge.executors.base import TaskResult

Task = TypeVar("Task")

_NAME_LENGTH = 120


@dataclass(frozen=True)
class Attempt:
    """What one try came to: a value, an error that is final, or a failure that another try may mend."""

    value: Any = None
    error: ShardforgeError | None = None
    failure: str = ""
    trace: str = ""


def try_task(function: Callable[[Any], Any], task: Any) -> Attempt:
    """Call `function(task)`; whatever it raises becomes part of the attempt."""
    try:
        return Attempt(value=function(task))
    except ShardforgeError as error:
        return Attempt(error=error)
    except Exception as error:
        return Attempt(failure=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


def encode_attempt(attempt: Attempt, dumps: Callable[[Attempt], bytes] = pickle.dumps) -> bytes:
    """Pickle an attempt; a value or an error that cannot be pickled becomes a `TaskError` that says so."""
    try:
        return dumps(attempt)
    except Exception as error:
        returned = type(attempt.value if attempt.error is None else attempt.error).__name__
        reason = f"came to a {returned}, which cannot be pickled ({type(error).__name__}: {error})"
        return dumps(Attempt(error=TaskError(reason)))


def decode_attempt(message: bytes) -> Attempt:
    """Unpickle an attempt; one that cannot be unpickled becomes a `TaskError` that says so."""
    try:
        attempt: Attempt = pickle.loads(message)
    except Exception as error:
        return Attempt(error=TaskError(f"came to what cannot be unpickled ({type(error).__name__}: {error})"))
    return attempt


@dataclass
class Job(Generic[Task]):
    """A task on its way, and how many of its tries have failed."""

    task: Task
    failures: int = 0

    def fail(self, what: str, trace: str = "") -> TaskResult[Task, Any]:
        """Return the result of a task that has failed for good."""
        name = _name_task(self.task)
        error = TaskError(f"task {name} {what}", task=name)
        if trace:
            error.add_note(trace)
        return TaskResult(self.task, error=error)


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
        """Return the task's result, or queue the job for another try and return None."""
        if attempt.failure:
            job.failures += 1
            if job.failures <= self._retries:
                self._again.append(job)
                return None
            times = "once" if job.failures == 1 else f"{job.failures} times"
            return job.fail(f"failed {times}; the last time: {attempt.failure}", attempt.trace)
        if isinstance(attempt.error, TaskError) and not attempt.error.task:
            return job.fail(str(attempt.error))
        return TaskResult(job.task, attempt.value, attempt.error)


def _name_task(task: object) -> str:
    name = " ".join(repr(task).split())
    return name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}..."
