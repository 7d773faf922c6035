"""Make small mistakes in the code, one at a time, and find those that no test notices.

    python scripts/mutate.py --reach                                      # first: which tests run which functions
    python scripts/mutate.py --seed 1 --count 400 --record mutants.jsonl  # goes on where it was stopped
    python scripts/mutate.py --only shardforge/images/geometry.py --count 50

Mutants are a seeded sample of the places of `mutation/sites.py`, one edit of each place. Only the tests that run the
mutated function are run, the cheapest first, until one fails; a mutant that runs out of CPU time counts as noticed.
All happens in copies of the checkout; the record says for each mutant what became of it. Those that change nothing
that a caller could see stand with a reason in `mutation/equivalent.txt` and are left out of the sample.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from mutation.reach import Reach, merge_reach, read_reach
from mutation.sandbox import ROOT, Sandbox, Verdict, copy_checkout
from mutation.sites import Mutant, find_mutants
from mutation.trace import FOLDER, START

EQUIVALENT = ROOT / "scripts" / "mutation" / "equivalent.txt"
#: What is mutated if nothing else is asked for.
PACKAGES = (
    *(f"shardforge/{name}" for name in ("dataset", "splits", "mapping", "verify", "images", "loader/index")),
    *(f"shardforge/loader/{name}.py" for name in ("order", "randomness", "sampling", "mixing", "schedule", "state")),
    *(f"shardforge/train/{name}.py" for name in ("optim", "schedule", "masking", "average", "checkpoint")),
)
MARKERS = "not ray and not slurm and not compiled and not recipes"


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
    record = Record(options.record, options.again)
    todo = record.choose(sample)
    print(f"{len(sample):,} mutants, {len(todo):,} to test", flush=True)
    try:
        test_mutants(todo, reach, options, record)
    finally:
        record.report(sample)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reach", action="store_true", help="run tests and note which functions they run")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="with --reach: these, to be noted anew")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--only", nargs="+", help="files and folders to mutate")
    parser.add_argument("--record", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--again", action="store_true", help="test again what survived")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30, help="CPU seconds of tests for a mutant")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "shardforge-mutate")
    return parser.parse_args()


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
    # By hashes and not by a generator: a change of the code elsewhere leaves the sample as it is.
    places.sort(key=lambda place: _hash(seed, repr((place[0].path, *place[0][6:], place[0].function))))
    known = read_equivalent()
    drawn = (min(place, key=lambda mutant: _hash(seed, mutant.name)) for place in places)
    return [mutant for mutant in drawn if mutant.name not in known][:count]


def _hash(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def read_equivalent() -> dict[str, str]:
    """Return the reasons of mutants that no test can notice, by their names."""
    lines = EQUIVALENT.read_text().splitlines() if EQUIVALENT.exists() else []
    return dict(line.rsplit(" # ", 1) for line in lines if line and not line.startswith("#"))


class Record:
    """What became of each mutant: a line of JSON each, the last one counts."""

    def __init__(self, path: Path, again: bool) -> None:
        self.path = path
        self.again = again

    def read(self) -> dict[str, dict[str, Any]]:
        """Return what is known, by the mutants' names."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return {one["name"]: one for one in map(json.loads, lines)}

    def choose(self, sample: list[Mutant]) -> list[Mutant]:
        """Return the mutants that are to be tested."""
        known = self.read()
        again = {name for name, one in known.items() if self.again and one["outcome"] == "survived"}
        return [mutant for mutant in sample if mutant.name not in known or mutant.name in again]

    def add(self, mutant: Mutant, verdict: Verdict, seconds: float) -> None:
        """Write down a verdict."""
        about = {"name": mutant.name, "path": mutant.path, "line": mutant.line, "operator": mutant.operator}
        line = json.dumps({**about, **verdict._asdict(), "seconds": round(seconds, 1)}, ensure_ascii=False)
        with open(self.path, "a") as file:
            file.write(f"{line}\n")
        tests = f"{verdict.tests:4}/{verdict.reaching:<4}"
        print(f"{verdict.outcome:9}{seconds:6.1f} s {tests} {mutant.line:4} {mutant.name}", flush=True)

    def report(self, sample: list[Mutant]) -> None:
        """Print how many of a sample were noticed."""
        known = self.read()
        found = [known[mutant.name] for mutant in sample if mutant.name in known]
        survived = Counter(one["path"] for one in found if one["outcome"] == "survived")
        for path, number in survived.most_common():
            print(f"{number:5} survived in {path}")
        noticed = len(found) - survived.total()
        print(f"{noticed:,} of {len(found):,} mutants noticed: {noticed / max(1, len(found)):.1%}")


def test_mutants(mutants: list[Mutant], reach: Reach, options: argparse.Namespace, record: Record) -> None:
    """Test mutants in so many processes."""
    workers = []
    for number in range(options.jobs):
        worker = os.fork()
        if worker:
            workers.append(worker)
            continue
        try:
            sandbox = Sandbox(options.work / f"copy-{number}", reach, options.seconds)
            for mutant in mutants[number :: options.jobs]:
                begin = time.monotonic()
                record.add(mutant, sandbox.judge(mutant), time.monotonic() - begin)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(0)
    for worker in workers:
        os.waitpid(worker, 0)


if __name__ == "__main__":
    main()
