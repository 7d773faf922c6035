"""Plot how well an order is mixed against the shards in a block; prints the figures as a Markdown table.

    python scripts/plot_shuffle_quality.py --out docs/shuffle_quality.png

The samples of the first data set lie in their shards by class, as an export of a class-per-directory tree has them;
those of the second in random order, as `shardforge write` lays them out. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shardforge.loader.order import Shuffled
from shardforge.loader.randomness import permute

_BATCHES = 200
_TIMED = 2**19
_SORTED, _SHUFFLED = "sorted by class", "shuffled when written"


class Quality(NamedTuple):
    """How one block size does; entropies in bits, per batch."""

    block_shards: int
    neighbours: float
    entropy: dict[str, float]
    nanoseconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--shard-samples", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = [measure(block, options) for block in options.blocks]
    print(
        "| shards in a block | neighbours from one shard | bits, sorted by class | bits, shuffled when written | ns |"
    )
    print("|---|---|---|---|---|")
    for row in found:
        entropy = " | ".join(f"{row.entropy[name]:.2f}" for name in (_SORTED, _SHUFFLED))
        print(f"| {row.block_shards} | {row.neighbours:.1%} | {entropy} | {row.nanoseconds:.0f} |")
    draw(found, options)


def measure(block_shards: int, options: argparse.Namespace) -> Quality:
    """Return the quality of evenly spaced batches of one pass, and the CPU time of the order per sample."""
    lengths = np.full(options.shards, options.shard_samples)
    order = Shuffled(lengths, seed=17, block_shards=block_shards)
    starts = np.linspace(0, order.samples - options.batch_size, _BATCHES).astype(int)
    batches = np.stack([order.take(start, start + options.batch_size) for start in starts])
    shards = batches // options.shard_samples
    by_class = np.arange(order.samples) * options.classes // order.samples
    labels = {_SORTED: by_class, _SHUFFLED: by_class[permute(np.arange(order.samples), order.samples, 1)]}
    begin = time.process_time()
    for start in range(0, _TIMED, 2**14):
        order.take(start, start + 2**14)
    seconds = time.process_time() - begin
    return Quality(
        block_shards,
        float((shards[:, 1:] == shards[:, :-1]).mean()),
        {name: float(np.mean([measure_entropy(of[batch]) for batch in batches])) for name, of in labels.items()},
        seconds / _TIMED * 1e9,
    )


def measure_entropy(labels: np.ndarray) -> float:
    """Return the entropy of the classes in a batch, in bits."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log2(shares)).sum())


def draw(found: list[Quality], options: argparse.Namespace) -> None:
    """Draw both measures against the block size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    blocks = [row.block_shards for row in found]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for name, marker in ((_SHUFFLED, "s"), (_SORTED, "o")):
        left.plot(blocks, [row.entropy[name] for row in found], marker=marker, label=name)
    left.set(title=f"Classes in a batch of {options.batch_size}", ylabel="entropy (bits)", ylim=(0, None))
    left.legend(loc="lower right")
    right.plot(blocks, [row.neighbours * 100 for row in found], marker="o", label="in the order")
    right.axhline(100 / options.shards, color="grey", linestyle="--", label="in a shuffle of everything")
    right.set(title="Neighbours from one shard", ylabel="% of neighbours", yscale="log")
    right.legend()
    for axes in (left, right):
        axes.axvline(16, color="grey", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", xlabel="shards in a block (dotted: the default)")
        axes.set_xticks(blocks, [str(block) for block in blocks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.suptitle(f"{options.shards:,} shards of {options.shard_samples:,} samples, {options.classes:,} classes")
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
