"""Images that do something to whoever reads their header: what no file at hand does with the libraries of today."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from shardforge.executors.base import TaskResult
from shardforge.executors.local import LocalExecutor
from shardforge.images import header

#: Such a file is a whole JPEG with this behind it, and the name of an action.
DO = b"do:"


def raise_unforeseen() -> None:
    raise ValueError("nobody thought of this")


def want_memory() -> None:
    bytearray(1 << 60)


def fail_to_read() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


ACTIONS: dict[str, Callable[[], Any]] = {
    "segfault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": os.abort,
    "hang": lambda: ctypes.PyDLL(None).sleep(600),  # no other thread may run Python meanwhile
    "unforeseen": raise_unforeseen,
    "memory": want_memory,
    "io": fail_to_read,
}


def make_hostile(path: Path, action: str) -> None:
    """Write an image that does `action` to the workers of a `HostileExecutor`; for others it is a good one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), "teal").save(path)
    with path.open("ab") as file:
        file.write(DO + action.encode())


class HostileExecutor(LocalExecutor):
    """Worker processes in which hostile files do what they say."""

    def run(self, function: Callable[[Any], Any], tasks: Iterable[Any], *, retries: int = 2) -> Iterator[TaskResult]:
        return super().run(functools.partial(run_hostile, function), tasks, retries=retries)


def run_hostile(function: Callable[[Any], Any], task: Any) -> Any:
    """Call `function(task)` where hostile files do what they say."""
    header.read_jpeg = read_hostile
    return function(task)


def read_hostile(data: bytes, *arguments: Any, real: Callable[..., Any] = header.read_jpeg) -> Any:
    if (action := data.rpartition(DO)[2].decode("latin-1")) in ACTIONS:
        ACTIONS[action]()
    return real(data, *arguments)
