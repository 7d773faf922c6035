"""What becomes of each command when one call of the operating system fails, is cut short, or kills the process.

    python scripts/faults.py --seed 1 --points 3000 --record faults.json

A shim (scripts/faulting/shim.c, needs cc) counts the calls of open, read, write, fsync, rename and unlink on files of a
small data set, over all threads and processes, and lets one of them fail with EIO, ENOSPC or EINTR, do half of its
work, or end in kill -9. A point is a command, a kind of call, its number, and a fault. Afterwards there is the right
result, or an error that names a path; and the same command once more gives what it gives undisturbed, down to the
SHA-256 of shards.

Each point forks a process in which everything is imported, so that only the work itself meets the fault.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import mmap
import os
import pkgutil
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from faulting.laboratory import FAULTS, KINDS, Laboratory, Plan, Point
from faulting.scenarios import Scenario, scenarios

ROOT = Path(__file__).resolve().parent.parent


def judge(laboratory: Laboratory, scenario: Scenario, point: Point, expected: Any) -> str | None:
    """Return what is wrong after a fault, None where all is as it should be, "" where the call was not reached."""
    run = laboratory.run(scenario, point)
    if not laboratory.plan.fired:
        return ""
    if run.status == 999:
        return "hangs"
    if "Traceback" in run.output:
        return f"a traceback: {run.output[-600:]}"
    if run.status == 0 and laboratory.look(scenario) != expected and not _tells(run.output):
        return f"ends well with another result: {run.output[-300:]}"
    if run.status > 0 and str(laboratory.work.name) not in run.output and not _names_file(run.output, laboratory.work):
        return f"an error that names no path: {run.output[-300:]}"
    if run.status < 0 and point.fault != "kill":
        return f"killed by signal {-run.status}: {run.output[-300:]}"
    again = laboratory.go_on(scenario)
    if again.status:
        return f"cannot go on, status {again.status}: {again.output[-400:]} (after: {run.output[-300:]})"
    found = laboratory.look(scenario)
    return None if found == expected else f"another result after going on: {_differ(found, expected)}"


def _tells(output: str) -> bool:
    """Whether a command that ended well said that something could not be read."""
    return any(word in output for word in ("unreadable", "vanished", "changed", "no index", "cannot be"))


def _names_file(output: str, work: Path) -> bool:
    return any(path.name in output for path in work.rglob("*"))


def _differ(found: Any, expected: Any) -> str:
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return next((_differ(a, b) for a, b in zip(found, expected, strict=True) if a != b), "")
    if isinstance(found, list | dict) and isinstance(expected, list | dict):
        more = [one for one in found if one not in expected]
        less = [one for one in expected if one not in found]
        return f"{str(more)[:300]} too many, {str(less)[:300]} missing"
    return f"{str(found)[:300]} instead of {str(expected)[:300]}"


def choose(counts: dict[str, dict[str, int]], points: int | None, seed: int) -> list[Point]:
    """Return all points, or a seeded sample of them."""
    every = [
        Point(scenario, kind, number, fault)
        for scenario, of_kind in counts.items()
        for kind, count in of_kind.items()
        for fault, (_, _, kinds) in FAULTS.items()
        if kind in kinds
        for number in range(1, count + 1)
    ]
    if points is None or points >= len(every):
        return every
    return sorted(random.Random(seed).sample(every, points), key=lambda point: (point.scenario, point.kind))


def import_all() -> None:
    """Import what the commands import."""
    import shardforge as package

    for module in pkgutil.walk_packages(package.__path__, "shardforge."):
        heavy = module.name.startswith("shardforge.train") and module.name != "shardforge.train.checkpoint"
        if not heavy and module.name not in ("shardforge.__main__", "shardforge.executors.ray"):
            importlib.import_module(module.name)
    for name in ("aiohttp", "fsspec.implementations.http", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "torch"):
        importlib.import_module(name)


def run_points(arguments: argparse.Namespace, plan: Plan, place: Path) -> int:
    import_all()
    laboratory = Laboratory(place, plan)
    known = {name: found for name, found in scenarios().items() if not arguments.only or arguments.only in name}
    counts: dict[str, dict[str, int]] = {}
    for name, scenario in known.items():
        laboratory.prepare(scenario)
        run = laboratory.run(scenario)
        if run.status:
            raise SystemExit(f"{name}: undisturbed, it ends with {run.status}: {run.output}")
        counts[name] = dict(zip(KINDS, list(plan.counts), strict=True))
        print(f"{name}: {counts[name]}", flush=True)
    points = choose(counts, arguments.points, arguments.seed)[arguments.skip :][arguments.part :: arguments.parts]
    if arguments.at:
        points = [point for point in points if arguments.at == f"{point.kind} {point.number} {point.fault}"]
    results: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    current, expected = "", None
    for done, point in enumerate(points, start=1):
        scenario = known[point.scenario]
        if point.scenario != current:
            laboratory.prepare(scenario)
            laboratory.run(scenario)
            current, expected = point.scenario, laboratory.look(scenario)
        problem = judge(laboratory, scenario, point, expected)
        results["not reached" if problem == "" else "wrong" if problem else "right"] += 1
        if problem:
            wrong.append({**vars(point), "problem": problem})
            print(f"WRONG {point}: {problem}", flush=True)
        if done % 100 == 0 or done == len(points):
            print(f"{done} of {len(points)}: {dict(results)}", flush=True)
            if arguments.record:
                record = {"seed": arguments.seed, "points": done, "results": results, "wrong": wrong, "calls": counts}
                arguments.record.write_text(json.dumps(record, indent=1) + "\n")
    return bool(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, help="a seeded sample of this many points (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="scenarios whose name holds this")
    parser.add_argument("--skip", type=int, default=0, help="points that were tried by a run that was stopped")
    parser.add_argument("--part", type=int, default=0, help="of --parts: to run several side by side")
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--at", help="one point alone, such as 'fsync 17 kill'")
    parser.add_argument("--record", type=Path, help="file for the result, JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        place = Path(temporary)
        if "FAULTS_PLAN" not in os.environ:
            shim = place / "faults.so"
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-O1", "-o", shim, ROOT / "scripts" / "faulting" / "shim.c", "-ldl"],
                check=True,
            )
            (place / "plan").write_bytes(bytes(ctypes.sizeof(Plan)))
            added = {"LD_PRELOAD": str(shim), "FAULTS_PLAN": str(place / "plan"), "FAULTS_PLACE": str(place)}
            return subprocess.run([sys.executable, *sys.argv], env=os.environ | added, check=False).returncode
        with open(os.environ["FAULTS_PLAN"], "r+b") as file, mmap.mmap(file.fileno(), ctypes.sizeof(Plan)) as memory:
            plan = Plan.from_buffer(memory)
            try:
                return run_points(arguments, plan, Path(os.environ["FAULTS_PLACE"]))
            finally:
                del plan


if __name__ == "__main__":
    sys.exit(main())
