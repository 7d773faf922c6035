"""Workers in processes of their own, for transforms in Python, which hold the interpreter lock.

Images come back through memory that was made before the worker; the rest of a batch is one message. A worker ends when
this process ends, however that ends, and one that dies is an error, not a wait.
"""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import sys
import threading
import traceback
from collections import deque
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import numpy.typing as npt

from shardforge.errors import ShardforgeError, TaskError, UsageError
from shardforge.executors.local import describe_end, exit_with_driver, shielded_start
from shardforge.loader.buffers import ArrayLayout, Loans, SharedMemory, view_array
from shardforge.loader.collate import BatchMaker, Made
from shardforge.loader.schedule import GlobalBatch
from shardforge.loader.workers.base import Batch


class _Failure(NamedTuple):
    """What making a batch raised, and where, if it is no error of ours."""

    error: ShardforgeError
    where: str = ""


class ProcessWorkers:
    """Batches go to `workers` processes in turn, with `prefetch` batches a worker under way.

    `layout` is that of the images of a whole batch.
    """

    def __init__(
        self, maker: BatchMaker, layout: ArrayLayout | None, workers: int, prefetch: int, start_method: str | None
    ) -> None:
        self.capacity = workers * prefetch
        self._workers = [_Worker(maker, layout, prefetch, number, start_method) for number in range(workers)]
        self._submitted = 0
        self._under_way: deque[_Worker] = deque()

    def submit(self, request: GlobalBatch) -> None:
        """Ask the next worker for a batch."""
        worker = self._workers[self._submitted % len(self._workers)]
        self._submitted += 1
        self._under_way.append(worker)
        worker.send(request)

    def collect(self) -> Batch:
        """Return the batch that was asked for first."""
        return self._under_way.popleft().receive()

    def discard(self) -> None:
        """Forget all batches that are under way."""
        while self._under_way:
            self._under_way.popleft().forget()

    def close(self) -> None:
        """Stop the processes."""
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One process, this end of its pipe, and the slots of shared memory that it writes images to."""

    def __init__(
        self, maker: BatchMaker, layout: ArrayLayout | None, prefetch: int, number: int, start_method: str | None
    ) -> None:
        self._number = number
        self._layout = layout
        self._prefetch = prefetch
        # Two more than are under way: the batch in use and the next one. Who keeps more of them gets copies.
        slots = prefetch + 2
        self._free = deque(range(slots))
        self._loans: Loans[int] = Loans()
        self._sent: deque[tuple[GlobalBatch, int]] = deque()
        self._forgotten = 0
        self._shared = SharedMemory(slots * layout.size) if layout is not None else None
        context: Any = multiprocessing.get_context(start_method)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, maker, layout, self._shared), name=f"shardforge-loader-{number}", daemon=True
        )
        try:
            with shielded_start():
                self._process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self._connection.close()
            raise UsageError(
                f"a loader worker cannot be given the dataset and its transform ({error}); define the transform at the "
                "top of a module, or choose the start method fork"
            ) from error
        finally:
            theirs.close()

    def send(self, request: GlobalBatch) -> None:
        """Ask for a batch."""
        self._take_back()
        while not self._free:
            self._drop_forgotten()
        slot = self._free.popleft()
        self._sent.append((request, slot))
        try:
            self._connection.send((request, slot))
        except OSError as error:
            raise self._explain_end() from error

    def receive(self) -> Batch:
        """Return the batch that was asked for first and is not forgotten."""
        while self._forgotten:
            self._drop_forgotten()
        answer = self._wait()
        request, slot = self._sent.popleft()
        if isinstance(answer, _Failure):
            self._free.append(slot)
            if answer.where:
                answer.error.add_note(answer.where)
            raise answer.error
        return Batch(request, self._take_images(len(request.samples), slot), answer)

    def forget(self) -> None:
        """Forget one more of the batches that were asked for first."""
        self._forgotten += 1

    def stop(self) -> None:
        """End the process at once; it owns nothing."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _drop_forgotten(self) -> None:
        self._wait()
        self._forgotten -= 1
        self._free.append(self._sent.popleft()[1])

    def _wait(self) -> Made | _Failure:
        ready = wait([self._connection, self._process.sentinel])
        try:
            if self._connection in ready or self._connection.poll():
                answer: Made | _Failure = self._connection.recv()
                return answer
        except (EOFError, OSError) as error:
            raise self._explain_end() from error
        raise self._explain_end()

    def _take_images(self, rows: int, slot: int) -> npt.NDArray[Any] | None:
        if self._layout is None or self._shared is None:
            self._free.append(slot)
            return None
        offset = slot * self._layout.size
        layout = ArrayLayout((rows, *self._layout.shape[1:]), self._layout.dtype)
        self._take_back()
        if len(self._free) + len(self._sent) >= self._prefetch:
            return self._loans.lend(slot, self._shared.memory, offset, layout)
        images = view_array(self._shared.memory, offset, layout).copy()
        self._free.append(slot)
        return images

    def _take_back(self) -> None:
        """Free the slots of batches that nobody uses any more."""
        while (slot := self._loans.give_back()) is not None:
            self._free.append(slot)

    def _explain_end(self) -> TaskError:
        how = describe_end(self._process)
        return TaskError(f"loader worker {self._number} (process {self._process.pid}) {how}; start the run again")


def _work(
    connection: Connection[Any, Any], maker: BatchMaker, layout: ArrayLayout | None, shared: SharedMemory | None
) -> None:
    """Make batches until the loader closes the pipe: the main function of a worker process."""
    threading.Thread(target=exit_with_driver, daemon=True).start()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # the workers share the cores already
    # Requests are taken as they come: else loader and worker could both wait for the other to empty a full pipe.
    requests: queue.SimpleQueue[tuple[GlobalBatch, int] | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, requests), daemon=True).start()
    while (asked := requests.get()) is not None:
        connection.send(_answer(maker, layout, shared, *asked))


def _receive(connection: Connection[Any, Any], requests: queue.SimpleQueue[tuple[GlobalBatch, int] | None]) -> None:
    try:
        while True:
            requests.put(connection.recv())
    except EOFError:
        requests.put(None)


def _answer(
    maker: BatchMaker, layout: ArrayLayout | None, shared: SharedMemory | None, request: GlobalBatch, slot: int
) -> Made | _Failure:
    images = None
    if layout is not None and shared is not None:
        images = view_array(shared.memory, slot * layout.size, layout)[: len(request.samples)]
    try:
        return maker.make(request, images)
    except ShardforgeError as error:
        return _Failure(error)
    except Exception as error:
        return _Failure(TaskError(f"a loader worker raised {type(error).__name__}: {error}"), traceback.format_exc())
