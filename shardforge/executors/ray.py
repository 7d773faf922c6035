"""Ray workers: on this machine, or on a cluster whose nodes have the same environment."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from shardforge.errors import TaskError, UsageError
from shardforge.executors.attempts import Attempt, Job, JobQueue, Loss, answer_message, decode_attempt
from shardforge.executors.base import TaskResult

try:
    import ray
    from ray import cloudpickle
except ImportError as error:
    raise UsageError('--executor ray: Ray is not installed; run pip install "shardforge[ray]"') from error

Task = TypeVar("Task")
Value = TypeVar("Value")

_REACH_SECONDS = 5.0
_AHEAD = 2  # tasks in flight per worker, so that none waits for the driver


class RayExecutor:
    """Runs tasks on Ray, at most `workers` at a time.

    Without an address it starts Ray on this machine and stops it again. Ray's own retries are off: a lost worker counts
    as one failed try of the task that it had.
    """

    def __init__(self, workers: int | None, *, preload: Sequence[str] = (), address: str | None = None) -> None:
        if workers == 0:
            raise UsageError("--workers 0 runs in this process, without Ray; use --executor local")
        self.workers = workers or 0
        self._preload = tuple(preload)
        self._address = address
        self._connected = False
        self._stdout = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if not ray.is_initialized():
            with _sigterm_kept():
                _connect(self._address, self.workers)
            self._connected = True
        # Ray tells of lost workers on stdout, where results go.
        self._stdout.enter_context(contextlib.redirect_stdout(sys.stderr))
        self.workers = self.workers or int(ray.cluster_resources()["CPU"])  # type: ignore[no-untyped-call]
        preload = ray.remote(max_retries=0)(_import_modules)
        for _ in range(self.workers if self._preload else 0):
            preload.remote(self._preload)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connected:
            ray.shutdown()
        self._stdout.close()

    def run(
        self, function: Callable[[Task], Value], tasks: Iterable[Task], *, retries: int = 2
    ) -> Iterator[TaskResult[Task, Value]]:
        """Yield the result of `function(task)` for every task, in the order in which they finish."""
        jobs = JobQueue(tasks, retries)
        answer = ray.remote(max_retries=0)(_answer)
        flying: dict[Any, Job[Task]] = {}

        def submit() -> Iterator[TaskResult[Task, Value]]:
            """Fill up what is in flight; yield the results of tasks that cannot be sent."""
            while len(flying) < self.workers * _AHEAD and (job := jobs.take()) is not None:
                try:
                    flying[answer.remote(job.encode(function, cloudpickle.dumps))] = job
                except TaskError as error:
                    yield TaskResult(job.task, error=error)

        try:
            yield from submit()
            while flying:
                (reference,), _ = ray.wait(list(flying))
                result = jobs.judge(flying.pop(reference), _receive(reference))
                yield from submit()
                if result is not None:
                    yield result
        finally:
            for reference in flying:
                ray.cancel(reference, force=True)


def _connect(address: str | None, workers: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else a notice on every start
    init = functools.partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
    if address is None:
        init(address="local", num_cpus=workers or None, include_dashboard=False)
        return
    found = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    try:
        if found != "auto":
            _check_reachable(found)
        init(address=found)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"--ray-address {address}: no Ray cluster answers there ({reason}); start one with ray start "
            "--head, set RAY_AUTH_MODE=token if it asks for a token, or leave --ray-address out to run Ray here"
        ) from error


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    # Ray's own handler aborts the process with a stack trace: a job that meets its time limit must end cleanly.
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _check_reachable(address: str) -> None:
    # Ray itself tries for two minutes before it gives up.
    parts = urlsplit(address if "//" in address else f"//{address}")
    if not parts.hostname or not parts.port:
        raise ValueError("expected auto or HOST:PORT")
    socket.create_connection((parts.hostname, parts.port), timeout=_REACH_SECONDS).close()


def _answer(message: bytes) -> bytes:
    return answer_message(message, cloudpickle.dumps)


def _import_modules(names: Sequence[str]) -> None:
    for name in names:
        importlib.import_module(name)


def _receive(reference: Any) -> Attempt:
    try:
        return decode_attempt(ray.get(reference))
    except ray.exceptions.RayTaskError as error:  # the worker could not even begin, shardforge is missing there
        return Attempt(failure=str(error).strip().rpartition("\n")[2])
    except ray.exceptions.RayError as error:
        reason = str(error).partition("\n")[0]
        return Attempt(loss=Loss(f"was lost ({type(error).__name__}: {reason})"))
