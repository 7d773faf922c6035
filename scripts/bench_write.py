"""Compare `shardforge write` with img2dataset and with a Pillow pool, on the same files and cores.

    python scripts/bench_write.py --inat corpora/inat --eol corpora/eol --peer-python ~/img2dataset/bin/python
    python scripts/bench_write.py --inat corpora/inat --efficiency

Each tool is timed as a whole process, from start to exit, in turns (A B C A B C ...), with the files in the page cache.
Each run's shards are counted and removed. All make 224-pixel JPEG of quality 90 in shards of the same size;
`docs/benchmarks.md` says what else is done to compare like with like.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import Barrier
from pathlib import Path
from typing import Any, NamedTuple

PEERS = Path(__file__).resolve().parent / "peers"
THREADS = (4, 8, 16, 32)
FLOORS = {"inat": {"img2dataset": 3.2, "pillow": 2.0}, "eol": {"img2dataset": 3.5, "pillow": 2.8}}
EFFICIENCY_FLOOR = 0.9
PURE_IMAGES = 2000
QUIET_LOAD = 0.3

_start = Barrier(1)


class Run(NamedTuple):
    """Images per second of wall time, and milliseconds of CPU time for each image, of all processes together."""

    rate: float
    cpu_ms: float


@contextmanager
def scratch_beside(corpus: Path) -> Iterator[Path]:
    """Make a folder on the corpus' disk that goes when the block ends."""
    with tempfile.TemporaryDirectory(dir=corpus.parent, prefix="bench-") as folder:
        yield Path(folder)


def list_images(corpus: Path) -> list[Path]:
    """Return the corpus' files, read once so that the page cache holds them."""
    paths = sorted(corpus.rglob("*.jpg"))
    if not paths:
        raise SystemExit(f"{corpus}: holds no .jpg files; make them with scripts/make_corpora.py")
    print(f"\n{corpus.name}: {len(paths):,} files, {sum(len(path.read_bytes()) for path in paths) / 1e6:,.0f} MB")
    return paths


def write_list(paths: list[Path], target: Path) -> None:
    """Write the list of images that the peers read."""
    with open(target, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["url", "label"])
        writer.writerows([path.resolve().as_uri(), path.parent.name] for path in paths)


def map_and_split(corpus: Path, db: Path) -> None:
    """Make the mapping that `shardforge write` starts from; its time is printed and not part of any rate."""
    shardforge = [sys.executable, "-m", "shardforge"]
    started = time.perf_counter()
    run([*shardforge, "map", "--db", str(db), "--source", f"{corpus.name}=folder:{corpus}"])
    mapped = time.perf_counter()
    run([*shardforge, "split", "--db", str(db), "--seed", "17", "--val-split", "5"])
    print(f"  shardforge map {mapped - started:.2f} s, split {time.perf_counter() - mapped:.2f} s (not timed below)")


def write_command(db: Path, out: Path, workers: int, shard_samples: int) -> list[str]:
    """Return the `shardforge write` to time."""
    options = {"--db": db, "--out": out, "--size": 224, "--resize": "squash", "--quality": 90, "--workers": workers}
    flat = [str(word) for option in options.items() for word in option]
    return [sys.executable, "-m", "shardforge", "write", *flat, "--shard-samples", str(shard_samples)]


def run(command: list[str]) -> int:
    """Run a command quietly; show what it said only when it fails. Return its process group."""
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    output, errors = done.communicate()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{output[-2000:]}{errors[-2000:]}")
    return done.pid


def measure(command: list[str], out: Path, count: int) -> Run:
    """Time a command that writes `count` images as shards into `out`, and remove them."""
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    cpu = children_cpu()
    started = time.perf_counter()
    group = run(command)
    seconds = time.perf_counter() - started
    wait_for_group(group)
    cpu = children_cpu() - cpu
    written = sum(count_images(shard) for shard in out.rglob("*.tar"))
    shutil.rmtree(out)
    if written != count:
        raise SystemExit(f"{' '.join(command)}\nwrote {written} of {count} images: its rate would mean nothing")
    return Run(count / seconds, 1000 * cpu / count)


def adopt_orphans() -> None:
    """Become the parent of processes that a measured tool leaves behind, so that their CPU time counts (Linux)."""
    set_child_subreaper = 36  # linux/prctl.h
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def wait_for_group(group: int) -> None:
    """Wait until all processes of a measured tool have ended."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


def children_cpu() -> float:
    """Return the CPU seconds of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def count_images(shard: Path) -> int:
    """Return the number of images in a tar."""
    with tarfile.open(shard) as tar:
        return sum(name.endswith(".jpg") for name in tar.getnames())


def tune_threads(command: list[str], out: Path, count: int) -> list[str]:
    """Return img2dataset's command with the number of threads that was fastest in one run each."""
    rates = {threads: measure([*command, "--threads", str(threads)], out, count).rate for threads in THREADS}
    best = max(rates, key=lambda threads: rates[threads])
    tried = ", ".join(f"{threads}: {rate:,.1f}/s" for threads, rate in rates.items())
    print(f"  img2dataset by threads: {tried}; {best} are used", flush=True)
    return [*command, "--threads", str(best)]


def compare(corpus: Path, kind: str, args: argparse.Namespace) -> None:
    """Time the three tools in turns on one corpus and print rates and ratios."""
    with scratch_beside(corpus) as scratch:
        paths = list_images(corpus)
        count = len(paths)
        shard_samples = min(1000, -(-count // (2 * args.workers)))  # so that a small corpus still gives each worker two
        images, db, out = scratch / "images.csv", scratch / "mapping.duckdb", scratch / "out"
        write_list(paths, images)
        options = [str(images), str(out), "--workers", str(args.workers), "--shard-samples", str(shard_samples)]
        commands = {
            "img2dataset": [args.peer_python, str(PEERS / "img2dataset_write.py"), *options],
            "pillow": [sys.executable, str(PEERS / "pillow_write.py"), *options],
        }
        commands["img2dataset"] = tune_threads(commands["img2dataset"], out, count)
        if not args.peers_only:
            map_and_split(corpus, db)
            commands = {"shardforge": write_command(db, out, args.workers, shard_samples), **commands}
        runs: dict[str, list[Run]] = {tool: [] for tool in commands}
        for _ in range(args.runs):
            for tool, command in commands.items():
                done = measure(command, out, count)
                runs[tool].append(done)
                print(f"  {tool:12} {done.rate:9,.1f} images/s, {done.cpu_ms:6.2f} CPU ms an image", flush=True)
    report(runs, FLOORS[kind])


def report(runs: dict[str, list[Run]], floors: dict[str, float]) -> None:
    """Print medians, spreads and how many times faster, and sparing of CPU time, shardforge is."""
    rates = {tool: statistics.median(run.rate for run in done) for tool, done in runs.items()}
    costs = {tool: statistics.median(run.cpu_ms for run in done) for tool, done in runs.items()}
    for tool, done in runs.items():
        spread = (max(run.rate for run in done) - min(run.rate for run in done)) / rates[tool]
        line = f"  {tool:12} median {rates[tool]:9,.1f} images/s, spread {spread:.0%}, {costs[tool]:.2f} CPU ms"
        if tool in floors and "shardforge" in runs:
            ratio, saved = rates["shardforge"] / rates[tool], costs[tool] / costs["shardforge"]
            line += f"; shardforge is {ratio:.2f} x as fast (floor {floors[tool]}), by CPU time {saved:.2f} x"
        print(line)


def measure_efficiency(corpus: Path, args: argparse.Namespace) -> None:
    """Print which share of the bare conversion rate `shardforge write` reaches, start-up included."""
    with scratch_beside(corpus) as scratch:
        paths = list_images(corpus)
        db, out = scratch / "mapping.duckdb", scratch / "out"
        map_and_split(corpus, db)
        part = paths[:: max(1, len(paths) // PURE_IMAGES)]
        for _ in range(args.runs):
            alone, together = convert_together(part, 1), convert_together(part, args.workers)
            written = measure(write_command(db, out, args.workers, 1000), out, len(paths))
            shares = {
                f"of {args.workers} x alone": written.rate / (alone.rate * args.workers),
                "of at once": written.rate / together.rate,
                "by CPU time": alone.cpu_ms / written.cpu_ms,
            }
            print(f"  bare loop    {alone.rate:,.0f} images/s alone, {together.rate:,.0f} in {args.workers} at once")
            print(f"  shardforge   {written.rate:,.0f} images/s; floor {EFFICIENCY_FLOOR:.0%}", end="")
            print("".join(f"; {share:.1%} {what}" for what, share in shares.items()), flush=True)


def convert_together(paths: list[Path], processes: int) -> Run:
    """Run the bare conversion loop in some processes at once, each with all the images; rates add up."""
    barrier = Barrier(processes)
    with ProcessPoolExecutor(processes, initializer=_set_barrier, initargs=(barrier,)) as pool:
        runs = list(pool.map(convert_alone, [paths] * processes))
    return Run(sum(run.rate for run in runs), statistics.mean(run.cpu_ms for run in runs))


def _set_barrier(barrier: Any) -> None:
    global _start
    _start = barrier


def convert_alone(paths: list[Path]) -> Run:
    """Convert images held in memory, in one process and thread."""
    from shardforge.images.convert import Conversion, choose_codec, convert_image

    conversion = Conversion(
        size=(224, 224),
        resize="squash",
        upscale=False,
        format="jpg",
        quality=90,
        max_pixels=200_000_000,
        passthrough=False,
        codec=choose_codec("auto"),
    )
    images = [path.read_bytes() for path in paths]
    convert_image(images[0], conversion)
    _start.wait()
    started, cpu = time.perf_counter(), time.process_time()
    for data in images:
        convert_image(data, conversion)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return Run(len(images) / seconds, 1000 * cpu / len(images))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inat", type=Path, metavar="DIR", help="corpus of small photos")
    parser.add_argument("--eol", type=Path, metavar="DIR", help="corpus of large photos")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH", help="the Python that has img2dataset")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--efficiency", action="store_true", help="measure the share of the bare conversion rate instead"
    )
    parser.add_argument("--peers-only", action="store_true", help="leave shardforge out")
    args = parser.parse_args()
    adopt_orphans()
    if os.getloadavg()[0] > QUIET_LOAD:
        print(f"warning: load average {os.getloadavg()[0]}: another process is busy, only CPU times can be compared")
    for kind in ("inat", "eol"):
        corpus = getattr(args, kind)
        if corpus is not None and args.efficiency:
            measure_efficiency(corpus, args)
        elif corpus is not None:
            compare(corpus, kind, args)


if __name__ == "__main__":
    main()
