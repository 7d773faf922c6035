"""Runs scenarios in forked processes, each from the same state, and disturbs one call of the operating system."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faulting.scenarios import Action, Scenario

KINDS = ("open", "read", "write", "fsync", "rename", "unlink")
#: Fault -> what shim.c calls it, its errno, and the kinds of call that it can happen to.
FAULTS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "EIO": (1, errno.EIO, KINDS),
    "ENOSPC": (1, errno.ENOSPC, ("open", "write", "fsync", "rename")),
    "EINTR": (1, errno.EINTR, ("open", "read", "write", "fsync")),
    "short": (2, 0, ("read", "write")),
    "kill": (3, 0, KINDS),
}
_SECONDS = 120
_PATH_MAX = 4096


class Plan(ctypes.Structure):
    """`struct plan` of shim.c."""

    _fields_ = (
        ("counts", ctypes.c_long * len(KINDS)),
        ("n", ctypes.c_long),
        *((name, ctypes.c_int) for name in ("armed", "kind", "fault", "error", "fired")),
        ("folder", ctypes.c_char * _PATH_MAX),
    )


@dataclass(frozen=True)
class Point:
    """The `number`-th call of a kind in a command, and what happens to it."""

    scenario: str
    kind: str
    number: int
    fault: str


@dataclass(frozen=True)
class Run:
    """How a process ended and what it printed."""

    status: int
    output: str


class Laboratory:
    """A folder in which scenarios run, each from the same state, with the shim's plan in hand."""

    def __init__(self, place: Path, plan: Plan) -> None:
        self.base, self.work, self._output = place / "base", place / "work" / "data", place / "output"
        self.work.parent.mkdir()
        self.plan = plan

    def prepare(self, scenario: Scenario) -> None:
        """Make the state before, in `base`, by way of `work`, since a mapping knows where its images lie."""
        self._renew(None)
        self._do(scenario.build)
        shutil.rmtree(self.base, ignore_errors=True)
        shutil.copytree(self.work, self.base, symlinks=True)

    def run(self, scenario: Scenario, point: Point | None = None) -> Run:
        """Act, disturbed at a point, on a copy of the state before."""
        self._renew(self.base)
        self._arm(point)
        run = self._fork(lambda: scenario.act(self.work))
        self.plan.armed = 0
        return run

    def go_on(self, scenario: Scenario) -> Run:
        """Act once more, undisturbed, on what there is."""
        return self._fork(lambda: scenario.act(self.work))

    def look(self, scenario: Scenario) -> Any:
        """Return what there is to compare, or why it cannot be looked at."""
        run = self._fork(lambda: print("\0" + json.dumps(scenario.look(self.work), default=str)))
        return json.loads(run.output.rpartition("\0")[2]) if run.status == 0 else run.output

    def _renew(self, state: Path | None) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        if state is None:
            self.work.mkdir()
        else:
            shutil.copytree(state, self.work, symlinks=True)

    def _do(self, action: Action) -> None:
        run = self._fork(lambda: action(self.work))
        if run.status:
            raise SystemExit(f"undisturbed, a command ends with {run.status}: {run.output}")

    def _arm(self, point: Point | None) -> None:
        plan = self.plan
        ctypes.memset(ctypes.addressof(plan), 0, ctypes.sizeof(plan))
        plan.folder = os.fsencode(self.work)
        if point is not None:
            plan.fault, plan.error, _ = FAULTS[point.fault]
            plan.kind, plan.n = KINDS.index(point.kind), point.number
        plan.armed = 1

    def _fork(self, action: Callable[[], Any]) -> Run:
        """Do it in a forked process, and return how that ended."""
        with open(self._output, "wb") as output:
            child = os.fork()
            if not child:
                _be_child(action, output.fileno())
        status = _wait(child)
        return Run(status, self._output.read_text(errors="replace"))


def _be_child(action: Callable[[], Any], output: int) -> None:
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    status = 1
    try:
        action()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int) -> int:
    """Return the exit status, minus the signal where one ended it; 999 for a process that does not end."""
    started = time.monotonic()
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - started > _SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 999
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # workers of one that was killed
    return os.waitstatus_to_exitcode(status)
