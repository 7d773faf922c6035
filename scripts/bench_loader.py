"""Compare ShardLoader with webdataset, wids, MosaicML streaming and litdata on the same samples and cores.

    python scripts/bench_loader.py --images corpora/large/inat --peer-python ~/peers/bin/python

Makes shards of 224-pixel JPEG with .cls and .json from the images, and copies of them in the formats of streaming and
litdata. Each loader runs as a process of its own (scripts/peers/read_shards.py), in turns (A B C A B C ...), with the
files in the page cache. Rates count from the first batch on, so that neither imports nor the start of workers decide
them; the time to the first batch stands beside. `docs/benchmarks.md` says what the rows mean.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

READ = Path(__file__).resolve().parent / "peers" / "read_shards.py"
BATCH = 256
PEERS = ("webdataset", "wids", "streaming", "litdata")


class Row(NamedTuple):
    """One table: a task, workers, the loaders that do it, and what is asked of shardforge against each of them."""

    title: str
    task: str
    workers: int
    loaders: tuple[str, ...]
    floors: dict[str, float]


ROWS = {
    "raw0": Row(
        "bytes of all members, one process", "raw", 0, ("shardforge", *PEERS),
        {"webdataset": 15, "wids": 4, "litdata": 1},
    ),
    "raw2": Row(
        "bytes of all members, 2 workers", "raw", 2, ("shardforge", *PEERS),
        {"webdataset": 3, "wids": 1.5, "streaming": 1.5, "litdata": 1},
    ),
    "crops": Row(
        "random crops to batches, simplejpeg for all, 2 workers", "crops", 2,
        ("shardforge", "processes", *PEERS, "kernel"),
        dict.fromkeys(PEERS, 1.8) | {"kernel": 0.7},
    ),
    "kernel": Row("the same with shardforge's kernel for all, 2 workers", "kernel", 2, ("shardforge", *PEERS), {}),
    "pillow": Row("the same against Pillow, 2 workers", "pillow", 2, ("webdataset",), {"webdataset": 3.5}),
    "shuffled": Row("bytes in random order, one process", "shuffled", 0, ("shardforge",), {}),
    "crops0": Row("random crops in random order, one process", "crops", 0, ("shardforge",), {}),
    "ordered": Row("the same in the order of the shards, one process", "ordered", 0, ("shardforge",), {}),
}  # fmt: skip


class Run(NamedTuple):
    """Samples per second from the first batch on, the time to that batch, and the CPU time of a sample."""

    rate: float
    first_seconds: float
    cpu_us: float


def run(command: list[str]) -> str:
    """Run a command; show what it said only when it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def make_samples(images: Path, folder: Path, python: str) -> None:
    """Write the shards with shardforge itself, and the peers' copies of them."""
    shardforge = [sys.executable, "-m", "shardforge"]
    db = str(folder / "mapping.duckdb")
    run([*shardforge, "map", "--db", db, "--source", f"images=folder:{images}"])
    run([*shardforge, "split", "--db", db, "--seed", "17", "--val-split", "1"])
    options = ["--out", str(folder / "shards"), "--size", "224", "--shard-samples", "2000"]
    run([*shardforge, "write", "--db", db, *options])
    run([python, str(READ), "copy", str(folder)])


def measure(python: str, loader: str, task: str, workers: int, folder: Path) -> Run:
    """Read one epoch in a process of its own."""
    found: dict[str, Any] = json.loads(
        run([python, str(READ), loader, task, str(workers), str(folder)]).splitlines()[-1]
    )
    rate = (found["samples"] - BATCH) / (found["seconds"] - found["first"])
    return Run(rate, found["first"], found["cpu_us"])


def compare(row: Row, python: str, folder: Path, rounds: int, ours: dict[str, list[Run]]) -> None:
    """Run the loaders of a row in turns and print their medians, and how many times faster shardforge is."""
    runs: dict[str, list[Run]] = {loader: [] for loader in row.loaders}
    for _ in range(rounds):
        for loader, done in runs.items():
            done.append(measure(python, loader, row.task, row.workers, folder))
    ours.update({row.task: runs["shardforge"]} if "shardforge" in runs else {})
    mine = statistics.median(run.rate for run in runs.get("shardforge", ours.get("crops", [])))
    print(f"\n{row.title}\n  {'':12} {'samples/s':>10} {'spread':>7} {'first batch':>12} {'CPU':>9}  shardforge")
    for loader, done in runs.items():
        rates = [run.rate for run in done]
        rate = statistics.median(rates)
        spread = (max(rates) - min(rates)) / rate
        first, cpu = (statistics.median(run[i] for run in done) for i in (1, 2))
        times = "" if loader == "shardforge" else f"{mine / rate:.2f} x"
        floor = f" (floor {row.floors[loader]})" if loader in row.floors else ""
        print(f"  {loader:12} {rate:10,.0f} {spread:7.0%} {first:10.2f} s {cpu:6.0f} us  {times}{floor}")


def time_cold_start(python: str, folder: Path, shards: int) -> None:
    """Time the first batch of a new process over many indexed shards, after its imports."""
    copies = folder / "many"
    copies.mkdir(exist_ok=True)
    tars = sorted((folder / "shards" / "train").glob("*.tar"))
    for number in range(shards):
        link = copies / f"shard-{number:06d}.tar"
        if not link.exists():
            link.symlink_to(tars[number % len(tars)])
    pattern = f"{copies}/shard-{{000000..{shards - 1:06d}}}.tar"
    code = (
        "import sys, time, torch\n"
        "from shardforge.loader.dataset import ShardDataset\n"
        "from shardforge.loader.loader import ShardLoader\n"
        "from shardforge.loader.transforms import RandomResizedCrop\n"
        "import shardforge.loader.pixels\n"
        "started = time.perf_counter()\n"
        "dataset = ShardDataset(sys.argv[1], transform=RandomResizedCrop(224))\n"
        f"next(iter(ShardLoader(dataset, global_batch_size={BATCH})))\n"
        "print(time.perf_counter() - started)\n"
    )
    started = time.perf_counter()
    run([python, "-c", code, pattern])
    built = time.perf_counter() - started
    times = [float(run([python, "-c", code, pattern])) for _ in range(3)]
    print(
        f"\n{shards:,} shards: first batch of a new process {statistics.median(times):.2f} s after its imports (goal 1)"
    )
    print(f"  the first run, which indexes them: {built:.1f} s in all")


def watch_memory(python: str, folder: Path) -> None:
    """Print the memory of this process after each of three epochs."""
    code = (
        "import sys, torch\n"
        "from shardforge.loader.dataset import ShardDataset\n"
        "from shardforge.loader.loader import ShardLoader\n"
        "from shardforge.loader.transforms import RandomResizedCrop\n"
        "dataset = ShardDataset(sys.argv[1], split='train', transform=RandomResizedCrop(224))\n"
        f"loader = ShardLoader(dataset, global_batch_size={BATCH}, num_workers=2)\n"
        "resident = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6\n"
        "print(round(resident()))\n"
        "for _ in range(3):\n"
        "    for batch in loader: pass\n"
        "    print(round(resident()))\n"
    )
    before, *after = run([python, "-c", code, str(folder / "shards")]).split()
    print(f"\nmemory of the process in MB: {before} before, {', '.join(after)} after each of three epochs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of JPEG to make the samples from")
    parser.add_argument("--folder", type=Path, help="where the samples are made, or were made before")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with the peers and shardforge")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as scratch:
        folder = arguments.folder or Path(scratch)
        if not (folder / "litdata").exists():
            make_samples(arguments.images, folder, arguments.peer_python)
        ours: dict[str, list[Run]] = {}
        for name in arguments.rows.split(","):
            compare(ROWS[name], arguments.peer_python, folder, arguments.rounds, ours)
        time_cold_start(arguments.peer_python, folder, 1000)
        watch_memory(arguments.peer_python, folder)


if __name__ == "__main__":
    main()
