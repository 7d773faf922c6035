"""Compare two checkouts of shardforge on the same files, in turns: what map, write and loading cost.

    git worktree add ../before REVISION
    python scripts/bench_versions.py --before ../before --corpus corpora/inat --rounds 7

All is CPU time, of one process from start to exit, which changes little when something else runs on the
machine; that of loading counts from the first batch on. `sha256` only hashes the corpus' files: what `write` does
besides since it compares them with the mapping. A ratio is the median over the rounds of now / before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
READ = HERE / "scripts" / "peers" / "read_shards.py"
RUN = "from shardforge.__main__ import run; run()"
HASH = """
import hashlib, sys
from pathlib import Path
for path in Path(sys.argv[1]).rglob("*.jpg"):
    hashlib.sha256(path.read_bytes()).digest()
"""
RANDOM = """
import json, random, sys, time
from shardforge.loader.dataset import ShardDataset
start = time.process_time()
data = ShardDataset(sys.argv[1], split="train", decode=False)
opened = time.process_time()
chance = random.Random(1)
for _ in range(5_000):
    data[chance.randrange(len(data))]
print(json.dumps({"open": opened - start, "random": (time.process_time() - opened) / 5_000}))
"""
TASKS = ("raw", "shuffled", "crops")
#: Seconds of CPU time by what was done.
Costs = dict[str, float]


def spend(checkout: Path, *arguments: object) -> tuple[float, str]:
    """Run Python in a checkout; return the CPU seconds of all its processes and what it printed last."""
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        said = child.stdout.read().decode().strip().rpartition("\n")[2]
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {child.returncode}")
    return used.ru_utime + used.ru_stime, said


def work(checkout: Path, corpus: Path, folder: Path) -> Costs:
    """Make a dataset of the corpus in the folder, read it, and return what that cost."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    db, out = folder / "m.duckdb", folder / "shards"
    costs: Costs = {"sha256": spend(checkout, "-c", HASH, corpus)[0]}
    costs["map"], _ = spend(
        checkout, "-c", RUN, "map", "--db", db, "--source", f"photos=folder:{corpus}", "--workers", 0
    )
    spend(checkout, "-c", RUN, "split", "--db", db, "--seed", 17, "--val-split", 5)
    size = ("--size", 224, "--resize", "squash", "--quality", 90, "--workers", 0)
    costs["write"], _ = spend(checkout, "-c", RUN, "write", "--db", db, "--out", out, *size)
    for task in TASKS:
        _, said = spend(checkout, READ, "shardforge", task, 0, folder)
        costs[f"load {task}"] = json.loads(said)["cpu_us"] / 1e6
    costs |= json.loads(spend(checkout, "-c", RANDOM, out / "_info.json")[1])
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout to compare with")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of scripts/make_corpora.py")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=options.corpus.parent, prefix="bench-") as scratch:
        for number in range(options.rounds):
            pair = [options.before, HERE] if number % 2 else [HERE, options.before]
            costs = {place: work(place, options.corpus, Path(scratch) / "work") for place in pair}
            for name, now in costs[HERE].items():
                found[name].append((costs[options.before][name], now))
            hashing = costs[HERE]["sha256"]
            found["write without sha256"].append((costs[options.before]["write"], costs[HERE]["write"] - hashing))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    print(f"{'':24}{'before':>12}{'now':>12}{'ratio':>8}")
    for name, pairs in found.items():
        before, now = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(second / first for first, second in pairs)
        print(f"{name:24}{before:12.6f}{now:12.6f}{ratio:8.3f}")


if __name__ == "__main__":
    main()
