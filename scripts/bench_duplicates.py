"""Time perceptual hashing on real files, and the search among synthetic hashes with planted pairs; prints peak memory.

python scripts/bench_duplicates.py --images corpora/inat              # images/s of one core
python scripts/bench_duplicates.py --hashes 1000000                   # 100,000 planted pairs
python scripts/bench_duplicates.py --hashes 1000000 --crowd 50000     # and a crowd of pictures of one scene
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from shardforge.duplicates import DEFAULT_DISTANCE
from shardforge.duplicates.bands import HASH_BITS, WORD_BITS, WORDS, Hashes
from shardforge.duplicates.hashing import hash_image
from shardforge.duplicates.search import link_hashes, list_pairs

_PLANTED = 10  # one hash in ten has a near copy
_NOISE = 8  # bits in which the pictures of a crowd differ from their scene

Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of image files to hash")
    parser.add_argument("--hashes", type=int, default=0)
    parser.add_argument("--crowd", type=int, default=0)
    parser.add_argument("--distance", type=int, default=DEFAULT_DISTANCE)
    options = parser.parse_args()
    if options.images:
        bench_hashing(options.images)
    if options.hashes:
        bench_search(options.hashes, options.crowd, options.distance)


def bench_hashing(folder: Path) -> None:
    files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    hash_image(files[0])
    start = time.process_time()
    for data in files:
        hash_image(data)
    used = time.process_time() - start
    print(
        f"hash: {len(files):,} files, {len(files) / used:,.0f} images/s of one core ({used / len(files) * 1e3:.2f} ms)"
    )


def bench_search(count: int, crowd: int, distance: int) -> None:
    hashes = make_hashes(count, crowd, distance)
    roots = report_time("link", lambda: link_hashes(hashes, distance))
    pairs = report_time("list pairs", lambda: sum(len(left) for left, _, _ in list_pairs(hashes, roots, distance)))
    planted = count // _PLANTED
    found = int((roots[-planted:] == roots[:planted]).sum())
    print(f"{found:,} of {planted:,} planted pairs found; {pairs:,} pairs listed")


def make_hashes(count: int, crowd: int, distance: int) -> Hashes:
    """Return random hashes; the last tenth are copies of the first, up to `distance` bits away."""
    random = np.random.default_rng(17)
    hashes = random.integers(0, 2**WORD_BITS, (count, WORDS), dtype=np.uint64)
    planted = count // _PLANTED
    hashes[-planted:] = flip_bits(hashes[:planted], random.integers(0, distance + 1, planted), random)
    if crowd:
        middle = count // 2
        scene = np.repeat(hashes[middle : middle + 1], crowd, axis=0)
        hashes[middle : middle + crowd] = flip_bits(scene, np.full(crowd, _NOISE), random)
    return hashes


def flip_bits(hashes: Hashes, counts: np.ndarray, random: np.random.Generator) -> Hashes:
    """Return the hashes with up to this number of bits changed in each."""
    flipped = hashes.copy()
    for turn in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(turn < counts)
        bits = random.integers(0, HASH_BITS, len(rows))
        flipped[rows, bits // WORD_BITS] ^= np.uint64(1) << (bits % WORD_BITS).astype(np.uint64)
    return flipped


def report_time(what: str, call: Callable[[], Result]) -> Result:
    start, cpu = time.perf_counter(), time.process_time()
    result = call()
    wall, used = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:12} {wall:7.2f} s wall {used:7.2f} s cpu  peak {peak:5.2f} GiB", flush=True)
    return result


if __name__ == "__main__":
    main()
