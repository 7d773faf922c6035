"""A copy of the checkout in which mutants are tested, each in a process of its own."""

from __future__ import annotations

import compileall
import contextlib
import importlib
import os
import py_compile
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from mutation.reach import Reach
from mutation.sites import Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
#: Loaded once, before the mutants: what takes long to import and is not ours.
LIBRARIES = ("pytest", "hypothesis", "numpy", "pyarrow.parquet", "duckdb", "PIL.Image", "torch", "timm", "torchvision")
_MEMORY = 16 << 30
_BROKEN = 70


class Verdict(NamedTuple):
    """What became of a mutant: survived, noticed (by a test) or timeout; how many tests there are, and were chosen."""

    outcome: str
    by: str
    tests: int
    reaching: int


def copy_checkout(target: Path) -> Path:
    """Copy the files that git knows or would add, and compile them so that a changed source is never taken for old."""
    shutil.rmtree(target, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(target / "shardforge", quiet=1, invalidation_mode=mode)
    return target


class Sandbox:
    """Tests one mutant after another in a copy of the checkout at `root`, with tests of at most `seconds` for each.

    A test counts as noticing something once it has passed here without a mutant, too.
    """

    def __init__(self, root: Path, reach: Reach, seconds: float) -> None:
        self.root = copy_checkout(root)
        self.log = root.with_suffix(".log")
        self._home = root.with_suffix(".home")
        self._failed = root.with_suffix(".failed")
        self._reach = reach
        self._seconds = seconds
        self._steady: set[str] = set()
        self._unsteady: set[str] = set()
        for library in LIBRARIES:
            with contextlib.suppress(ImportError):
                importlib.import_module(library)

    def judge(self, mutant: Mutant) -> Verdict:
        """Return what the tests say of a mutant."""
        while True:
            files, reaching = self._reach.choose(mutant, self._seconds, self._unsteady)
            code, test = self._run(mutant, files)
            if "::" in test and test not in self._steady | self._unsteady:  # else a file that cannot be loaded
                (self._unsteady if self._run(None, [[test]])[0] else self._steady).add(test)
            if test not in self._unsteady:
                outcome = "survived" if code == 0 else "timeout" if code < 0 else "noticed"
                return Verdict(outcome, test or (f"exit code {code}" if code else ""), sum(map(len, files)), reaching)

    def _run(self, mutant: Mutant | None, files: list[list[str]]) -> tuple[int, str]:
        """Run tests with a mutant in place; return pytest's exit code, negative for a signal, and which test failed."""
        if mutant is not None:
            (self.root / mutant.path).write_text(mutant.apply((ROOT / mutant.path).read_text()))
        seconds = self._reach.cost(files)
        self._failed.write_text("")
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            try:
                self._run_tests(files, int(20 + 3 * seconds))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(_BROKEN)
        code = self._wait(pid, time.monotonic() + 60 + 10 * seconds)
        if mutant is not None:
            shutil.copyfile(ROOT / mutant.path, self.root / mutant.path)
        failed = self._failed.read_text()
        if code > 2 and not failed:
            sys.exit(f"{mutant and mutant.name}: the tests could not be run (exit code {code}); see {self.log}")
        return code, failed

    def _wait(self, pid: int, until: float) -> int:
        status = 0
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        status = ended[1]
        self._kill_left()
        return os.waitstatus_to_exitcode(status)

    def _kill_left(self) -> None:
        """Kill what tests have started and not ended, known by its home."""
        mark = b"\0HOME=" + os.fsencode(self._home) + b"\0"
        for place in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in b"\0" + place.read_bytes():
                    os.kill(int(place.parent.name), signal.SIGKILL)

    def _run_tests(self, files: list[list[str]], cpu: int) -> None:
        """Run tests in this process, file by file, until one fails; end with pytest's code."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(self.root)
        shutil.rmtree(self._home, ignore_errors=True)
        (self._home / "tmp").mkdir(parents=True)
        os.environ.update(PYTHONPATH=str(self.root), HOME=str(self._home), TMPDIR=str(self._home / "tmp"))
        tempfile.tempdir = None
        sys.path.insert(0, str(self.root))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        import hypothesis
        import pytest

        import shardforge

        assert Path(shardforge.__file__).is_relative_to(self.root), shardforge.__file__
        # Which example is smallest is no question here, and shrinking takes long.
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile("mutate", max_examples=25, phases=phases, deadline=None, database=None)
        hypothesis.settings.load_profile("mutate")
        options = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider", f"--basetemp={self._home}/pytest"]
        options += ["--hypothesis-seed=0", "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # loaded already
        codes = (int(pytest.main([*options, *tests], plugins=[_Watcher(self._failed)])) for tests in files)
        code = next(filter(None, codes), 0)
        sys.stdout.flush()
        os._exit(code)


class _Watcher:
    """A plugin that writes down which test fails, or which file of tests cannot be loaded."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def pytest_runtest_logreport(self, report: object) -> None:
        if report.failed:  # type: ignore[attr-defined]
            self._place.write_text(report.nodeid)  # type: ignore[attr-defined]

    pytest_collectreport = pytest_runtest_logreport
