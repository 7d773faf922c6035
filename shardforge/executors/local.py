"""Worker processes on this machine.

Each worker has a pipe of its own and holds one task at a time, so when one dies (out of memory, a crash in a C library)
it is known which task it had: that task alone is charged, the worker is replaced and the run goes on. The pools of the
standard library give up as a whole, or wait for ever, when a worker dies.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import resource
import selectors
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from shardforge.errors import TaskError
from shardforge.executors.attempts import Attempt, JobQueue, Loss, answer_message, decode_attempt, try_task
from shardforge.executors.base import TaskResult
from shardforge.executors.items import UNBORN, Position, watch_items

Task = TypeVar("Task")
Value = TypeVar("Value")

_EXIT_SECONDS = 5.0
#: How long a worker may be at one item of its task: a last resort, far beyond what an honest one takes.
ITEM_SECONDS = 300.0
#: Memory that a worker may ask for: its share of the machine's, and never less than this.
_LEAST_MEMORY = 4 << 30
# Its server imports once what all workers need, and has no threads of its own, so that forking it is safe.
_forkserver = multiprocessing.get_context("forkserver")


class LocalExecutor:
    """Runs tasks in `workers` processes of their own, or in this process when `workers` is 0."""

    def __init__(
        self,
        workers: int,
        *,
        preload: Sequence[str] = (),
        item_seconds: float = ITEM_SECONDS,
        memory: int | None = None,
    ) -> None:
        self.workers = workers
        self._setting = _Setting(tuple(preload), item_seconds, memory or _share_memory(workers))
        self._pool: set[_Worker] = set()
        self._idle: list[_Worker] = []

    def __enter__(self) -> Self:
        if self.workers:
            _start_server(self._setting.preload)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in list(self._pool):
            self._stop_worker(worker)

    def run(
        self, function: Callable[[Task], Value], tasks: Iterable[Task], *, retries: int = 2
    ) -> Iterator[TaskResult[Task, Value]]:
        """Yield the result of `function(task)` for every task, in the order in which they finish."""
        jobs = JobQueue(tasks, retries)
        return self._run(function, jobs) if self.workers else _run_here(function, jobs)

    def _run(self, function: Callable[[Task], Value], jobs: JobQueue[Task]) -> Iterator[TaskResult[Task, Value]]:
        busy = selectors.DefaultSelector()
        try:
            yield from self._feed(busy, function, jobs)
            while busy.get_map():
                for key, _ in busy.select():
                    worker, job = key.data
                    busy.unregister(key.fileobj)
                    result = jobs.judge(job, self._receive(worker))
                    # The worker gets its next task before the caller looks at this result.
                    yield from self._feed(busy, function, jobs)
                    if result is not None:
                        yield result
        finally:
            for key in list(busy.get_map().values()):
                self._stop_worker(key.data[0])
            busy.close()

    def _feed(
        self, busy: selectors.BaseSelector, function: Callable[[Task], Value], jobs: JobQueue[Task]
    ) -> Iterator[TaskResult[Task, Value]]:
        """Give every idle worker a task; yield the results of those that cannot be sent."""
        while len(busy.get_map()) < self.workers and (job := jobs.take()) is not None:
            try:
                message = job.encode(function)
            except TaskError as error:
                yield TaskResult(job.task, error=error)
                continue
            worker = self._take_worker()
            busy.register(worker.connection, selectors.EVENT_READ, (worker, job))
            worker.send(message)

    def _take_worker(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                return worker
            self._stop_worker(worker)
        return self._start_worker()

    def _receive(self, worker: _Worker) -> Attempt:
        try:
            message = worker.connection.recv_bytes()
        except (EOFError, OSError):
            loss = Loss(describe_end(worker.process), max(0, -(worker.process.exitcode or 0)), worker.position.value)
            self._stop_worker(worker)
            return Attempt(loss=loss)
        self._idle.append(worker)
        return decode_attempt(message)

    def _start_worker(self) -> _Worker:
        worker = _Worker(self._setting)
        self._pool.add(worker)
        return worker

    def _stop_worker(self, worker: _Worker) -> None:
        if worker in self._pool:  # else it went when the pool did, before the caller let go of a run
            self._pool.discard(worker)
            worker.stop()


class _Setting(NamedTuple):
    """What a worker imports, how long it may be at an item, and the bytes of memory that it may ask for."""

    preload: tuple[str, ...]
    item_seconds: float
    memory: int


class _Worker:
    """A worker process, the driver's end of its pipe, and the item that it is at."""

    def __init__(self, setting: _Setting) -> None:
        self.connection, theirs = _forkserver.Pipe()
        self.position: Position = _forkserver.RawValue("q", UNBORN)
        self.process = _forkserver.Process(
            target=_work, args=(theirs, setting, self.position), name="shardforge-worker", daemon=True
        )
        try:
            with shielded_start():
                self.process.start()
        finally:
            theirs.close()

    def send(self, message: bytes) -> None:
        """Send a task. A worker that has died meanwhile shows when its answer is read."""
        with contextlib.suppress(OSError):
            self.connection.send_bytes(message)

    def stop(self) -> None:
        """End the process at once; a worker owns nothing that a task's next try would miss."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self.connection.close()


def _start_server(preload: Sequence[str]) -> None:
    """Start the server that workers are forked from; it loads the modules while this process prepares the tasks."""
    _forkserver.set_forkserver_preload(list(preload))
    with shielded_start():
        forkserver.ensure_running()


@contextlib.contextmanager
def shielded_start() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: they inherit blocked signals from their first moment on."""
    resource_tracker.ensure_running()  # starting it later would unblock SIGINT again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_HINTS: dict[int, str] = {
    signal.SIGKILL: ", often for lack of memory",
    signal.SIGALRM: ", for being too long at one item",
}


def describe_end(process: BaseProcess) -> str:
    """Say how a worker process ended that answers no more, for a message."""
    process.join(_EXIT_SECONDS)
    status = process.exitcode
    if status is None:
        return "closed its pipe"
    if status >= 0:
        return f"exited with status {status}"
    hint = _HINTS.get(-status, "")
    return f"was killed by signal {-status} ({signal.Signals(-status).name}{hint})"


def exit_with_driver() -> None:
    """End this worker process when its driver ends, however it ends, also in the middle of a task."""
    driver = multiprocessing.parent_process()
    assert driver is not None  # this runs in workers only
    driver.join()
    os._exit(1)


def _work(connection: Connection[bytes, bytes], setting: _Setting, position: Position) -> None:
    """Answer tasks until the driver closes the pipe: the main function of a worker process."""
    threading.Thread(target=exit_with_driver, daemon=True).start()
    for name in setting.preload:
        importlib.import_module(name)
    watch_items(position, setting.item_seconds)
    limit_memory(setting.memory)
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(answer_message(message))


def limit_memory(size: int) -> None:
    """Let this process ask for no more than `size` bytes: what wants more is refused, and not the machine."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    with contextlib.suppress(ValueError, OSError):  # it has a lower limit already
        resource.setrlimit(resource.RLIMIT_DATA, (size, hard))


def _share_memory(workers: int) -> int:
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(_LEAST_MEMORY, physical // max(1, workers))


def _run_here(function: Callable[[Task], Value], jobs: JobQueue[Task]) -> Iterator[TaskResult[Task, Any]]:
    while (job := jobs.take()) is not None:
        result = jobs.judge(job, try_task(function, job.task))
        if result is not None:
            yield result
