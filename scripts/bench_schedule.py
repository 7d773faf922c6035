"""Time the making of batches: opening an epoch in its middle, and CPU time per sample; prints a Markdown table.

python scripts/bench_schedule.py --samples 10000000 --shards 1000
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from shardforge.loader.mixing import Mixture, Source
from shardforge.loader.order import Chosen, Sampler, Sequential, Shuffled, count_kept
from shardforge.loader.sampling import ClassSampler, WeightedSampler
from shardforge.loader.schedule import Schedule

_TIMED = 500_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=256)
    options = parser.parse_args()
    print("| order | set up (ms) | first batch, mid-epoch (ms) | CPU per sample (ns) |")
    print("|---|---|---|---|")
    for name, make in list_samplers(options):
        begin = time.perf_counter()
        sampler = make()
        ready = time.perf_counter()
        schedule = Schedule(sampler, seed=17, batch_size=options.batch_size)
        middle = schedule.steps() // 2
        schedule.batch(3, middle)
        opened = time.perf_counter()
        nanoseconds = time_batches(schedule, middle)
        print(f"| {name} | {(ready - begin) * 1e3:.1f} | {(opened - ready) * 1e3:.1f} | {nanoseconds:.0f} |")


def list_samplers(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Sampler]]]:
    lengths = np.full(options.shards, options.samples // options.shards)
    total = int(lengths.sum())
    labels = (np.arange(total) * 2_654_435_761 % options.classes).astype(np.int32)
    half = np.arange(0, total, 2)
    yield "sequential", lambda: Sequential(total)
    yield "shuffled, blocks of 16 shards", lambda: Shuffled(lengths, seed=17)
    yield "shuffled, one block of all", lambda: Shuffled(lengths, seed=17, block_shards=options.shards)
    yield "half of them chosen", lambda: Chosen(Shuffled(count_kept(lengths, half), seed=17), half)
    yield "class-balanced", lambda: ClassSampler(labels, seed=17)
    yield "weighted", lambda: WeightedSampler(1 / (1.0 + labels), seed=17)
    yield "mixture of two", lambda: Mixture([Source(Shuffled(lengths, seed=n), total) for n in (1, 2)], seed=17)


def time_batches(schedule: Schedule, start: int) -> float:
    """Return the CPU time per sample, in ns, of the batches from `start` on."""
    steps = min(_TIMED // schedule.batch_size, schedule.steps() - start)
    begin = time.process_time()
    for step in range(start, start + steps):
        schedule.batch(3, step)
    return (time.process_time() - begin) / (steps * schedule.batch_size) * 1e9


if __name__ == "__main__":
    main()
