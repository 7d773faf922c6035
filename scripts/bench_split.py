"""Time `assign_splits` and every check on synthetic records in both engines; prints one line per step.

    python scripts/bench_split.py --records 10000000 --folder /tmp/bench

One record in a hundred has a copy. Classes are long-tailed; a third of the records have no observation.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from shardforge.mapping import Mapping, open_mapping
from shardforge.splits.assign import assign_splits
from shardforge.splits.checks import check_mapping

# Plain digits, because the engines have no common way to count.
_NUMBERS = """
WITH d(i) AS (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)),
n(i) AS (
    SELECT a.i + 10 * b.i + 100 * c.i + 1000 * d.i + 10000 * e.i + 100000 * f.i + 1000000 * g.i
    FROM d AS a, d AS b, d AS c, d AS d, d AS e, d AS f, d AS g
)
"""
_FILL = f"""
INSERT INTO images (key, source, path, label, species, group_id, bytes, content_hash)
{_NUMBERS}
SELECT substr(sha256('key ' || i), 1, 24), 'bench', 'photos/' || i || '.jpg',
       'class ' || CAST(floor(10000.0 * (i % 9973) * (i % 9973) / (9973.0 * 9973)) AS INTEGER),
       'class ' || CAST(floor(10000.0 * (i % 9973) * (i % 9973) / (9973.0 * 9973)) AS INTEGER),
       CASE WHEN i % 3 > 0 THEN 'observation ' || CAST(floor(i / 4) AS INTEGER) END, 1000,
       substr(sha256('bytes ' || CASE WHEN i % 100 = 0 THEN i - i % 200 ELSE i END), 1, 32)
FROM n WHERE i < $records
"""
_RUNS: dict[str, dict[str, Any]] = {
    "hash": {},
    "hash again": {},
    "exact": {"rule": "exact", "name": "exact"},
    "stratified": {"stratify": "species", "name": "stratified"},
    "grouped": {"group_by": "group_id", "name": "grouped"},
    "subsets": {"subsets": {"train_small": Fraction(1, 10)}, "name": "subsets"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--engines", nargs="+", default=["duckdb", "sqlite"])
    parser.add_argument("--runs", nargs="+", default=list(_RUNS), choices=list(_RUNS))
    parser.add_argument("--checks", action="store_true")
    options = parser.parse_args()
    for engine in options.engines:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            bench_engine(Path(folder) / f"mapping.{engine}", options)


def bench_engine(path: Path, options: argparse.Namespace) -> None:
    with open_mapping(path, write=True, create=True) as mapping:
        report_time(f"{mapping.engine} fill", lambda: mapping.execute(_FILL, records=options.records))
        for run in options.runs:
            report_time(f"{mapping.engine} {run}", lambda run=run: assign_splits(mapping, seed=17, **_RUNS[run]))
        if options.checks:
            bench_checks(mapping)


def bench_checks(mapping: Mapping) -> None:
    offending = [
        result.check
        for result in report_time(f"{mapping.engine} checks", lambda: check_mapping(mapping))
        if result.rows
    ]
    print(f"offending: {offending}")


def report_time(what: str, call: Callable[[], Any]) -> Any:
    start, cpu = time.perf_counter(), time.process_time()
    result = call()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wall, used = time.perf_counter() - start, time.process_time() - cpu
    print(f"{what:24} {wall:7.2f} s wall {used:7.2f} s cpu  peak {peak:5.2f} GiB", flush=True)
    return result


if __name__ == "__main__":
    main()
