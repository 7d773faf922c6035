"""What becomes of each command when one call of the operating system fails, is cut short, or kills the process.

    python scripts/faults.py --seed 1 --points 3000 --record faults.json

A shim (scripts/faults.c, needs cc) counts the calls of open, read, write, fsync, rename and unlink on files of a small
data set, over all threads and processes, and lets one of them fail with EIO, ENOSPC or EINTR, do half of its work, or
end in kill -9. A point is a command, a kind of call, its number, and a fault. Afterwards there is the right result, or
an error that names a path; and the same command once more gives what it gives undisturbed, down to the SHA-256 of
shards.

Each point forks a process in which everything is imported, so that only the work itself meets the fault.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import functools
import http.server
import importlib
import json
import mmap
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "data" / "photos"

KINDS = ("open", "read", "write", "fsync", "rename", "unlink")
#: Fault -> what faults.c calls it, its errno, and the kinds of call that it can happen to.
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
    """`struct plan` of faults.c."""

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


Action = Callable[[Path], None]


@dataclass(frozen=True)
class Scenario:
    """What is there before (`build`), what is disturbed (`act`), and what there is to compare (`look`)."""

    build: Action
    act: Action
    look: Callable[[Path], Any]


def shardforge(*arguments: object) -> None:
    """Run a command in this process; a status other than 0 ends it."""
    from shardforge.cli import main

    try:
        main([str(argument) for argument in arguments], prog_name="shardforge")
    except SystemExit as end:
        if end.code:
            raise


# --- the scenarios --------------------------------------------------------------------------------------------------


def make_images(folder: Path) -> None:
    from PIL import Image

    for number, photo in enumerate(sorted(PHOTOS.glob("*.webp"))[:14]):
        place = folder / "images" / ("birds", "fish")[number % 2] / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photo) as image:
            image.convert("RGB").resize((48, 36)).save(place)
        os.utime(place, ns=(10**18, 10**18))


def map_images(folder: Path, engine: str = "duckdb", workers: int = 0) -> None:
    source = f"photos=folder:{folder / 'images'}"
    shardforge("map", "--db", folder / f"m.{engine}", "--source", source, "--workers", workers)


def split_images(folder: Path, engine: str = "duckdb") -> None:
    db = folder / f"m.{engine}"
    shardforge("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 30)


def write_shards(folder: Path, *options: object, engine: str = "duckdb", workers: int = 0) -> None:
    size = ("--size", 24, "--shard-samples", 4, "--workers", workers)
    shardforge("write", "--db", folder / f"m.{engine}", "--out", folder / "out", *size, *options)


def change_images(folder: Path) -> None:
    (folder / "images" / "fish" / "1.jpg").unlink()
    shutil.copy2(folder / "images" / "fish" / "3.jpg", folder / "images" / "birds" / "new.jpg")
    (folder / "images" / "fish" / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")


def damage_shards(folder: Path) -> None:
    first, second, *_ = sorted(folder.glob("out/train/*.tar"))
    first.write_bytes(first.read_bytes()[:-2000])
    second.unlink()
    shutil.copy2(sorted(folder.glob("out/validation/*.tar"))[0], folder / "out" / "train" / "stranger.tar")
    (folder / "out" / "classes.txt").write_text("wrong\n")


def look_at_mapping(folder: Path, engine: str = "duckdb") -> Any:
    from shardforge.mapping import open_mapping

    with open_mapping(folder / f"m.{engine}") as mapping:
        images = mapping.rows(
            "SELECT key, path, bytes, mtime, label, width, content_hash, reason FROM images ORDER BY 1"
        )
        splits = mapping.rows("SELECT name, key, split FROM splits ORDER BY 1, 2")
        outcomes = mapping.rows("SELECT key, reason FROM outcomes ORDER BY 1")
        notes = mapping.rows("SELECT key, note FROM notes ORDER BY 1, 2")
    return [images, splits, outcomes, notes]


def look_at_dataset(folder: Path, engine: str = "duckdb") -> Any:
    from shardforge.files import sha256_file

    files = {str(path.relative_to(folder)): path for path in sorted((folder / "out").rglob("*")) if path.is_file()}
    passing = ("plan.parquet", "/lock")  # which name a run
    lasting = {name: sha256_file(path) for name, path in files.items() if not name.endswith(passing)}
    return [sorted(files), lasting, look_at_mapping(folder, engine)]


def look_at_files(folder: Path) -> Any:
    """Return what there is without what lies in the dataset's scratch folder, which the next `write` empties."""
    files, lasting, _ = look_at_dataset(folder)
    scratch = "out/.shardforge/tmp/"
    return [
        [name for name in files if not name.startswith(scratch)],
        {name: digest for name, digest in lasting.items() if not name.startswith(scratch)},
    ]


def nothing(folder: Path) -> Any:
    return None


def drop_index(folder: Path) -> None:
    for path in folder.glob("out/*/.*.shardforge-index"):
        path.unlink()


def make_index(folder: Path) -> None:
    shardforge("index", folder / "out" / "_info.json", "--split", "train", "--dali", "--workers", 0)


def read_samples(folder: Path, inputs: object, **options: Any) -> Any:
    from shardforge.loader.dataset import ShardDataset

    data = ShardDataset(str(inputs), split="train", decode=False, **options)
    return [sorted((name, bytes(value).hex() if name != "__key__" else value) for name, value in data[i].items())
            for i in range(len(data))]  # fmt: skip


def read_cached(folder: Path) -> None:
    """Read all samples of the dataset behind a URL through the cache, and keep what was read."""
    from shardforge.endings import one_line_errors
    from shardforge.loader.storage import RemoteOptions

    handler = functools.partial(_Quiet, directory=str(_served(folder)))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, one_line_errors():
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        url = f"http://127.0.0.1:{server.server_port}/_info.json"
        samples = read_samples(folder, url, remote=RemoteOptions(folder / "cache" / "shards", 1 << 30))
        server.shutdown()
    (folder.parent / "read.json").write_text(json.dumps(samples))


def serve_shards(folder: Path) -> None:
    """Put the dataset where no call of the server is counted."""
    shutil.rmtree(_served(folder), ignore_errors=True)
    shutil.move(folder / "out", _served(folder))


def _served(folder: Path) -> Path:
    return folder.parent / "served"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


def look_at_read(folder: Path) -> Any:
    return json.loads((folder.parent / "read.json").read_text())


def save_checkpoints(folder: Path, last: int = 4) -> None:
    """Go on from the newest whole checkpoint, as a run does, to the end of the `last` epoch."""
    import torch

    from shardforge.endings import one_line_errors
    from shardforge.train import checkpoint
    from shardforge.train.lock import lock_run

    place = folder / "run"
    place.mkdir(exist_ok=True)
    with one_line_errors(), lock_run(place, print):
        epoch, weights = 0, torch.zeros(500)
        if checkpoint.list_checkpoints(place):
            whole, _ = checkpoint.find_whole(place)
            checkpoint.set_damaged_aside(place, whole)
            found = checkpoint.load_checkpoint(whole, checked=True)
            epoch, weights = found["epoch"], found["model"]["w"]
        while epoch < last:
            epoch, weights = epoch + 1, weights + 1
            about = {"task": "mim"}
            parts: dict[str, Any] = {"about": about, "loader": {}, "meter": {}, "begin": {}, "best": None}
            parts |= {"model": {"w": weights}, "average": None, "optimiser": {}, "scaler": None}
            checkpoint.save_checkpoint(place, epoch, 0, parts)
            checkpoint.prune_checkpoints(place, 1, 2, None)


def look_at_checkpoints(folder: Path) -> Any:
    """Return the newest two checkpoints: one before them may be left where the end of a run was disturbed."""
    from shardforge.train import checkpoint

    saved = checkpoint.list_checkpoints(folder / "run")[-2:]
    others = {path.name for path in (folder / "run").iterdir()} - {f"checkpoint_000{epoch}.pt" for epoch in range(5)}
    return [sorted(others), [checkpoint.load_checkpoint(one.path)["model"]["w"].tolist() for one in saved]]


def chain(*actions: Action) -> Action:
    """Return one action that does these in turn."""

    def act(folder: Path) -> None:
        for action in actions:
            action(folder)

    return act


def scenarios() -> dict[str, Scenario]:
    found: dict[str, Scenario] = {}
    for engine in ("duckdb", "sqlite"):
        mapped = chain(make_images, functools.partial(map_images, engine=engine))
        ready = chain(mapped, functools.partial(split_images, engine=engine))
        look = functools.partial(look_at_mapping, engine=engine)
        found[f"map {engine}"] = Scenario(make_images, functools.partial(map_images, engine=engine), look)
        found[f"map again {engine}"] = Scenario(
            chain(ready, change_images), functools.partial(map_images, engine=engine), look
        )
        found[f"split {engine}"] = Scenario(mapped, functools.partial(split_images, engine=engine), look)
        found[f"write {engine}"] = Scenario(
            ready, functools.partial(write_shards, engine=engine), functools.partial(look_at_dataset, engine=engine)
        )
    ready = chain(make_images, map_images, split_images)
    written = chain(ready, write_shards)
    other = functools.partial(_write_again, options=("--replace", "--label", "source"))
    out = functools.partial(_on_dataset)
    found |= {
        "map workers": Scenario(make_images, functools.partial(map_images, workers=1), look_at_mapping),
        "write workers": Scenario(ready, functools.partial(write_shards, workers=1), look_at_dataset),
        "write replace": Scenario(written, other, look_at_dataset),
        "verify": Scenario(written, out("verify", "--db", "--workers", 0), nothing),
        "verify decode": Scenario(written, out("verify", "--level", "decode", "--workers", 0), nothing),
        "repair": Scenario(chain(written, damage_shards), out("verify", "--repair", "--workers", 0), look_at_files),
        "catalog": Scenario(written, out("catalog"), look_at_files),
        "card": Scenario(written, out("card", "--db"), look_at_files),
        "index": Scenario(chain(written, drop_index), make_index, look_at_files),
        "cache": Scenario(chain(written, serve_shards), read_cached, look_at_read),
        "checkpoint": Scenario(functools.partial(save_checkpoints, last=2), save_checkpoints, look_at_checkpoints),
    }
    return found


def _write_again(folder: Path, options: Sequence[object]) -> None:
    write_shards(folder, *options)


def _on_dataset(command: str, *options: object) -> Action:
    def act(folder: Path) -> None:
        db = [folder / "m.duckdb"]
        given = [part for option in options for part in ([option, *db] if option == "--db" else [option])]
        shardforge(command, folder / "out", *given)

    return act


# --- running them ---------------------------------------------------------------------------------------------------


class Laboratory:
    """A folder in which scenarios run, each from the same state, with the shim's plan in hand."""

    def __init__(self, place: Path, plan: Plan) -> None:
        self.base, self.work, self._output = place / "base", place / "work" / "data", place / "output"
        self.work.parent.mkdir()
        self._plan = plan

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
        self._plan.armed = 0
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
        plan = self._plan
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


def judge(laboratory: Laboratory, scenario: Scenario, point: Point, expected: Any) -> str | None:
    """Return what is wrong after a fault, None where all is as it should be, "" where the call was not reached."""
    run = laboratory.run(scenario, point)
    if not laboratory._plan.fired:
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
    points = choose(counts, arguments.points, arguments.seed)[arguments.part :: arguments.parts]
    points = [p for p in points if not arguments.at or arguments.at == f"{p.kind}{p.number}{p.fault}"]
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
        if done % 100 == 0:
            print(f"{done} of {len(points)}: {dict(results)}", file=sys.stderr, flush=True)
    print(f"{len(points)} points: {dict(results)}")
    if arguments.record:
        record = {"seed": arguments.seed, "points": len(points), "results": results, "wrong": wrong, "calls": counts}
        arguments.record.write_text(json.dumps(record, indent=1) + "\n")
    return bool(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, help="a seeded sample of this many points (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="scenarios whose name holds this")
    parser.add_argument("--part", type=int, default=0, help="of --parts: to run several side by side")
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--at", help="one point alone, such as fsync17kill")
    parser.add_argument("--record", type=Path, help="file for the result, JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        place = Path(temporary)
        if "FAULTS_PLAN" not in os.environ:
            shim = place / "faults.so"
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-O1", "-o", shim, ROOT / "scripts" / "faults.c", "-ldl"], check=True
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
