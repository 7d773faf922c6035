"""Notes which functions of the package a process calls first: one line of test, file and function each.

Only calls are traced, which is cheap. `$MUTATION_REACH` is the folder of the result; `running` in it has the test.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

FOLDER = "MUTATION_REACH"
#: What an interpreter runs at its start, so that processes of tests are traced, too.
START = "from mutation.trace import trace\ntrace()\n"
_PACKAGE = f"{os.sep}shardforge{os.sep}"
_INNER = re.compile(r"(\.<locals>)?\.?<(lambda|listcomp|genexpr|setcomp|dictcomp)>.*$")


class Tracer:
    """Notes the first call of each function in each test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begin()
        os.register_at_fork(after_in_child=self.begin)

    def begin(self, test: str | None = None) -> None:
        """Begin to note for a test; without one for that which runs now."""
        running = self.folder / "running"
        self.test = (running.read_text() if running.exists() else "") if test is None else test
        self.seen: dict[int, CodeType] = {}  # the objects, too: an id is used again once its owner is gone

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if id(code) in self.seen:
            return
        self.seen[id(code)] = code
        if _PACKAGE in code.co_filename and self.test:
            path = _PACKAGE[1:] + code.co_filename.rpartition(_PACKAGE)[2]
            with open(self.folder / "reach.tsv", "a") as file:
                file.write(f"{self.test}\t{path}\t{_INNER.sub('', code.co_qualname)}\n")


def trace() -> Tracer:
    """Trace this process from now on."""
    tracer = Tracer(Path(os.environ[FOLDER]))
    sys.settrace(tracer)
    threading.settrace(tracer)
    return tracer
