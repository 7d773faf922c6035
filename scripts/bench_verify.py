"""Compare `shardforge verify` with bare hashing, and count the images that it decodes per second and core.

    python scripts/bench_verify.py OUT/_info.json --workers 2

The files are read once first, so that they are in the page cache. "verify" is the work alone, in workers that have
started; "command" is the whole process from start to exit, which counts for little on a dataset of a usual size.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from shardforge.dataset.manifest import read_manifest
from shardforge.executors import Executor, open_executor
from shardforge.verify.dataset import verify_dataset

BLOCK = 1 << 20
CHECKSUM_FLOOR = 0.8
DECODE_FLOOR = 4500


def hash_files(paths: list[Path]) -> int:
    """Return the bytes hashed."""
    block = bytearray(BLOCK)
    view = memoryview(block)
    total = 0
    for path in paths:
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while size := file.readinto(block):
                digest.update(view[:size])
                total += size
    return total


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long the work took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def verify(info: Path, level: str, executor: Executor) -> None:
    """Verify with workers that have started; a problem ends the benchmark."""
    problems = verify_dataset(info, level, executor, progress=lambda stage, done, total: None)
    if problems:
        raise SystemExit(
            f"{info}: {len(problems)} problems, the first: {problems[0]}; verify the dataset before measuring"
        )


def verify_command(info: Path, level: str, workers: int) -> None:
    """Verify as a user does, in a process of its own."""
    command = [sys.executable, "-m", "shardforge", "verify", str(info), "--level", level, "--workers", str(workers)]
    subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("info", type=Path, help="the dataset's _info.json")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    entries = read_manifest(args.info).shards
    shards = [args.info.parent / entry.path for entry in entries]
    samples = sum(entry.samples or 0 for entry in entries)
    megabytes = hash_files(shards) / 1e6
    print(f"{len(shards)} shards, {samples:,} samples, {megabytes:,.0f} MB, {args.workers} workers")

    bare, checksum, decode = [], [], []
    with (
        open_executor("local", args.workers, preload=("shardforge.verify.shard",)) as executor,
        ProcessPoolExecutor(args.workers) as pool,
    ):
        verify(args.info, "size", executor)  # the workers have started and imported what they need
        parts = [shards] * args.workers
        list(pool.map(hash_files, [[]] * args.workers))
        for _ in range(args.runs):
            bare.append(megabytes / seconds_of(partial(hash_files, shards)) * args.workers)
            together = megabytes * args.workers / seconds_of(lambda: list(pool.map(hash_files, parts)))
            checksum.append(megabytes / seconds_of(partial(verify, args.info, "checksum", executor)))
            decode.append(samples / seconds_of(partial(verify, args.info, "decode", executor)) / args.workers)
            print(
                f"  sha256 {bare[-1]:,.0f} MB/s (one process x {args.workers}), {together:,.0f} MB/s (at once); "
                f"checksum {checksum[-1]:,.0f} MB/s; decode {decode[-1]:,.0f} images/s per core",
                flush=True,
            )
    share = statistics.median(checksum) / statistics.median(bare)
    print(f"checksum: {share:.0%} of bare sha256 x {args.workers} (floor {CHECKSUM_FLOOR:.0%})")
    print(f"decode:   {statistics.median(decode):,.0f} images/s per core (floor {DECODE_FLOOR:,} at 224 pixels)")
    for level in ("checksum", "decode"):
        seconds = seconds_of(partial(verify_command, args.info, level, args.workers))
        print(f"command:  --level {level} {seconds:.2f} s with start-up ({megabytes / seconds:,.0f} MB/s)")


if __name__ == "__main__":
    main()
