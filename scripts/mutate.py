"""Make small mistakes in the code, one at a time, and find those that no test notices.

    python scripts/mutate.py --reach                                      # first: which tests run which functions
    python scripts/mutate.py --seed 1 --count 400 --record mutants.json   # goes on where it was stopped
    python scripts/mutate.py --only shardforge/images/geometry.py --count 50

Mutants are a seeded sample of the places of `mutation/sites.py`, one edit of each place. Only the tests that run the
mutated function are run, the cheapest first, until one fails; a mutant that runs out of CPU time counts as noticed.
All happens in copies of the checkout; the record says for each mutant what became of it. Those that change nothing
that a caller could see stand with a reason in `mutation/equivalent.txt` and are left out of the sample.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import importlib
import json
import os
import py_compile
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutation.reach import Reach, merge_reach, read_reach
from mutation.sites import Mutant, find_mutants
from mutation.trace import FOLDER, START

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "scripts" / "mutation" / "equivalent.txt"
#: What is mutated if nothing else is asked for.
PACKAGES = (
    *(f"shardforge/{name}" for name in ("dataset", "splits", "mapping", "verify", "images", "loader/index")),
    *(f"shardforge/loader/{name}.py" for name in ("order", "randomness", "sampling", "mixing", "schedule", "state")),
    *(f"shardforge/train/{name}.py" for name in ("optim", "schedule", "masking", "average", "checkpoint")),
)
#: Loaded once, before the mutants: what takes long to import and is not ours.
LIBRARIES = ("pytest", "hypothesis", "numpy", "pyarrow.parquet", "duckdb", "PIL.Image", "torch", "timm", "torchvision")
MARKERS = "not ray and not slurm and not compiled and not recipes"
MEMORY = 16 << 30
_BROKEN = 70


@dataclass
class Job:
    """A mutant under test in a sandbox."""

    mutant: Mutant
    tests: list[str]
    reaching: int
    pid: int
    began: float
    limit: float


@dataclass
class Sandbox:
    """A copy of the checkout, and what runs in it."""

    root: Path
    job: Job | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.root.with_suffix(".log")


def main() -> None:
    options = parse_options()
    folder: Path = options.work
    folder.mkdir(parents=True, exist_ok=True)
    if options.reach:
        make_reach(folder / "reach", options.tests)
        return
    if not (folder / "reach" / "tests.json").exists():
        sys.exit(f"{folder}: which tests run what is not known; run with --reach first")
    reach = read_reach(folder / "reach")
    sample = draw_sample(options.only or PACKAGES, options.seed, options.count)
    record = Record(options.record, options.seed, options.again)
    todo = [mutant for mutant in sample if not record.knows(mutant)]
    print(f"{len(sample):,} mutants, {len(todo):,} to test", flush=True)
    try:
        test_mutants(todo, reach, folder, options, record)
    finally:
        record.report(sample)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reach", action="store_true", help="run tests and note which functions they run")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="with --reach: these, to be noted anew")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--only", nargs="+", help="files and folders to mutate")
    parser.add_argument("--record", type=Path, default=Path("mutants.json"))
    parser.add_argument("--again", action="store_true", help="test again what survived")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=90, help="CPU seconds of tests for a mutant")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "shardforge-mutate")
    return parser.parse_args()


def copy_checkout(target: Path) -> Path:
    """Copy the files that git knows or would add, and compile them so that a changed source is never taken for old."""
    shutil.rmtree(target, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(target / "shardforge", quiet=1, invalidation_mode=mode)
    return target


def make_reach(folder: Path, tests: list[str]) -> None:
    """Run tests once, traced, and add what they reach to what is known."""
    new = folder.with_name("reach-new")
    shutil.rmtree(new, ignore_errors=True)
    root = copy_checkout(new / "copy")
    (new / "sitecustomize.py").write_text(START)
    (new / "reach.tsv").touch()
    for place, mode in ((new, 0o777), (new / "reach.tsv", 0o666)):
        place.chmod(mode)  # some tests run as another user
    paths = [str(part) for part in (new, root, root / "scripts")]
    environment = {**os.environ, FOLDER: str(new), "PYTHONPATH": os.pathsep.join(paths)}
    command = ["-m", "pytest", "-q", "-m", MARKERS, "-p", "mutation.reach", "--timeout=1200", f"--basetemp={new}/tmp"]
    subprocess.run([sys.executable, *command, *tests], cwd=root, env=environment, check=False)
    merge_reach(folder, new)
    shutil.rmtree(new)


def draw_sample(only: list[str] | tuple[str, ...], seed: int, count: int) -> list[Mutant]:
    """Return mutants that are not known to be equivalent: of `count` random places one edit each."""
    files: set[Path] = set()
    for name in only:
        path = ROOT / name
        if not path.exists():
            sys.exit(f"{name}: not there; give files or folders of this checkout")
        files |= {path} if path.is_file() else set(path.rglob("*.py"))
    places = []
    for path in sorted(files):
        places += find_mutants(str(path.relative_to(ROOT)), path.read_text())
    chance = random.Random(seed)
    chance.shuffle(places)
    known = read_equivalent()
    drawn = (chance.choice(place) for place in places)
    return [mutant for mutant in drawn if mutant.name not in known][:count]


def read_equivalent() -> dict[str, str]:
    """Return the reasons of mutants that no test can notice, by their names."""
    lines = EQUIVALENT.read_text().splitlines() if EQUIVALENT.exists() else []
    return dict(line.rsplit(" # ", 1) for line in lines if line and not line.startswith("#"))


def choose_tests(mutant: Mutant, reach: Reach, seconds: float) -> tuple[list[str], int]:
    """Return the cheapest tests of the mutated function within so many seconds, and how many there are in all."""
    key = f"{mutant.path}::{mutant.function}"
    names = reach.functions.get(key) if mutant.function else None
    if names is None:
        inside = f"{mutant.path}::"
        names = sorted(
            {test for function, tests in reach.functions.items() if function.startswith(inside) for test in tests}
        )
    chosen: dict[str, list[str]] = defaultdict(list)
    left = seconds
    for test in sorted(names, key=lambda name: reach.seconds[name]):
        left -= reach.seconds[test]
        if left < 0 and chosen:
            break
        chosen[test.partition("::")[0]].append(test)
    files = sorted(chosen.values(), key=lambda tests: sum(reach.seconds[test] for test in tests) / len(tests))
    return [test for tests in files for test in tests], len(names)


class Record:
    """What became of each mutant, kept in a file after each."""

    def __init__(self, path: Path, seed: int, again: bool) -> None:
        self.path = path
        self.again = again
        self.seed = seed
        self.mutants: dict[str, dict[str, Any]] = json.loads(path.read_text())["mutants"] if path.exists() else {}

    def knows(self, mutant: Mutant) -> bool:
        """Whether the mutant needs no test any more."""
        known = self.mutants.get(mutant.name)
        return known is not None and not (self.again and known["outcome"] == "survived")

    def add(self, job: Job, outcome: str, by: str) -> None:
        mutant = job.mutant
        seconds = round(time.monotonic() - job.began, 1)
        self.mutants[mutant.name] = {
            "path": mutant.path,
            "line": mutant.line,
            "operator": mutant.operator,
            "outcome": outcome,
            "by": by,
            "tests": len(job.tests),
            "reaching": job.reaching,
            "seconds": seconds,
        }
        text = json.dumps({"seed": self.seed, "mutants": self.mutants}, indent=1, ensure_ascii=False)
        self.path.with_suffix(".part").write_text(text)
        self.path.with_suffix(".part").rename(self.path)
        print(
            f"{outcome:9}{seconds:6.1f} s {len(job.tests):4}/{job.reaching:<4} {mutant.line:4} {mutant.name}",
            flush=True,
        )

    def report(self, sample: list[Mutant]) -> None:
        """Print how many of a sample were noticed."""
        found = [self.mutants[mutant.name] for mutant in sample if mutant.name in self.mutants]
        survived = Counter(one["path"] for one in found if one["outcome"] == "survived")
        for path, number in survived.most_common():
            print(f"{number:5} survived in {path}")
        noticed = len(found) - survived.total()
        print(f"{noticed:,} of {len(found):,} mutants noticed: {noticed / max(1, len(found)):.1%}")


def test_mutants(
    mutants: list[Mutant], reach: Reach, folder: Path, options: argparse.Namespace, record: Record
) -> None:
    """Test mutants, so many at a time."""
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    sandboxes = [Sandbox(copy_checkout(folder / f"copy-{number}")) for number in range(options.jobs)]
    waiting = list(reversed(mutants))
    while waiting or any(one.job for one in sandboxes):
        for sandbox in sandboxes:
            if sandbox.job:
                watch(sandbox, record)
            if not sandbox.job and waiting:
                mutant = waiting.pop()
                sandbox.job = start(sandbox, mutant, *choose_tests(mutant, reach, options.seconds), reach)
        time.sleep(0.02)


def start(sandbox: Sandbox, mutant: Mutant, tests: list[str], reaching: int, reach: Reach) -> Job:
    """Put the mutant into the sandbox and fork a process that runs the tests there."""
    path = sandbox.root / mutant.path
    path.write_text(mutant.apply((ROOT / mutant.path).read_text()))
    seconds = sum(reach.seconds[test] for test in tests)
    cpu = 20 + 3 * seconds
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        try:
            run_tests(sandbox, tests, int(cpu))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(_BROKEN)
    return Job(mutant, tests, reaching, pid, time.monotonic(), 60 + 10 * seconds)


def run_tests(sandbox: Sandbox, tests: list[str], cpu: int) -> None:
    """Run tests in this process, which is to end with pytest's code."""
    os.setsid()
    log = os.open(sandbox.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(sandbox.root)
    home = sandbox.root.with_suffix(".home")
    shutil.rmtree(home, ignore_errors=True)
    (home / "tmp").mkdir(parents=True)
    os.environ.update(PYTHONPATH=str(sandbox.root), HOME=str(home), TMPDIR=str(home / "tmp"))
    tempfile.tempdir = None
    sys.path.insert(0, str(sandbox.root))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    import hypothesis
    import pytest

    import shardforge

    assert Path(shardforge.__file__).is_relative_to(sandbox.root), shardforge.__file__
    # Which example is smallest is no question here, and shrinking takes long.
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutate", phases=phases, deadline=None, database=None)
    hypothesis.settings.load_profile("mutate")
    plugins = ["-p", "no:cacheprovider", f"--basetemp={home}/pytest", "--hypothesis-seed=0"]
    plugins += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # loaded already
    code = pytest.main(["-x", "-q", "--tb=line", *plugins, *tests]) if tests else 0
    sys.stdout.flush()
    os._exit(int(code))


def watch(sandbox: Sandbox, record: Record) -> None:
    """See whether the tests of a sandbox have ended, or end them; note what became of the mutant."""
    job = sandbox.job
    assert job is not None
    pid, status = os.waitpid(job.pid, os.WNOHANG)
    late = time.monotonic() - job.began > job.limit
    if not pid and not late:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)  # and what the tests have started
    if not pid:
        os.waitpid(job.pid, 0)
    code = -1 if late else os.waitstatus_to_exitcode(status)
    if code > 2:
        sys.exit(f"{job.mutant.name}: the tests could not be run (exit code {code}); see {sandbox.log}")
    outcome = "survived" if code == 0 else "timeout" if code < 0 else "noticed"
    failed = [
        line for line in sandbox.log.read_text(errors="replace").splitlines() if line.startswith(("FAILED", "ERROR"))
    ]
    record.add(job, outcome, failed[0][:200] if failed else f"exit code {code}" if code else "")
    shutil.copyfile(ROOT / job.mutant.path, sandbox.root / job.mutant.path)
    sandbox.job = None


if __name__ == "__main__":
    main()
