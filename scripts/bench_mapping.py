"""Load synthetic records with every column filled, and say how long it took and how much memory it needed.

    python scripts/bench_mapping.py --engine duckdb --rows 10000000

Making the records is not counted in the load time. `--split` times a split of the loaded records too, `--stats` all
figures of `shardforge stats`.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.catalog.statistics import OF_IMAGES, OF_MAPPING, collect_statistics
from shardforge.mapping import Mapping, open_mapping
from shardforge.mapping.update import index_images
from shardforge.records import record_schema
from shardforge.splits.assign import assign_splits

CHUNK = 1_000_000
SPECIES = 20_000
RANK_SIZES = {
    "kingdom": 3,
    "phylum": 30,
    "class": 100,
    "order": 400,
    "family": 1_500,
    "genus": 8_000,
    "species": SPECIES,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["duckdb", "sqlite"], default="duckdb")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--split", action="store_true", help="split the records too")
    parser.add_argument("--stats", action="store_true", help="count the statistics too")
    parser.add_argument("--folder", type=Path, default=None, help="where the database is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder, f"mapping.{options.engine}")
        with open_mapping(path, write=True, create=True) as mapping:
            seconds = load(mapping, options.rows)
            report("load", seconds, options.rows)
            started = time.perf_counter()
            classes = mapping.rows(mapping.query("count_by_class"))
            report(f"count_by_class ({len(classes):,} rows)", time.perf_counter() - started, options.rows)
            if options.split:
                started = time.perf_counter()
                assign_splits(mapping, seed=17, shares={"validation": Fraction(5, 100)})
                report("split", time.perf_counter() - started, options.rows)
            if options.stats:
                started = time.perf_counter()
                collect_statistics(mapping, {**OF_IMAGES, **OF_MAPPING})
                report("statistics", time.perf_counter() - started, options.rows)
        print(f"{path.stat().st_size / 1e9:.2f} GB on disk")


def load(mapping: Mapping, rows: int) -> float:
    """Insert `rows` records and return the seconds that took, without the time to make them."""
    seconds = 0.0
    random = np.random.default_rng(17)
    for first in range(0, rows, CHUNK):
        records = make_records(random, first, min(CHUNK, rows - first))
        started = time.perf_counter()
        with mapping.transaction():
            mapping.insert("images", records)
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    index_images(mapping)
    return seconds + time.perf_counter() - started


def make_records(random: np.random.Generator, first: int, rows: int) -> pa.Table:
    number = np.arange(first, first + rows)
    text = pa.array(number).cast(pa.string())
    species = random.zipf(1.3, rows) % SPECIES
    ranks = {name: names(name, species * size // SPECIES) for name, size in RANK_SIZES.items()}
    columns = {
        "key": hexadecimal(random, rows, 24),
        "source": constant("photos", rows),
        "path": joined(ranks["species"], "/observation_", text, ".jpg"),
        "offset": pa.nulls(rows, pa.int64()) if first % (2 * CHUNK) else pa.array(number * 512),
        "bytes": pa.array(random.integers(20_000, 200_000, rows)),
        "mtime": pa.array(1_700_000_000_000_000_000 + number * 1_000_003),
        "label": ranks["species"],
        "group_id": joined("observation-", pa.array(number // 3).cast(pa.string())),
        **ranks,
        "common_name": names("common", species),
        "license": names("license", species % 6),
        "author": names("author", random.integers(0, 50_000, rows)),
        "url": joined("https://example.org/observations/", text, "/original.jpg"),
        "metadata": joined('{"latitude": 51.5, "number": ', text, "}"),
        "reason": pa.array(np.where(random.random(rows) < 0.01, "truncated", None), pa.string()),
        "width": pa.array(random.integers(200, 4000, rows), pa.int32()),
        "height": pa.array(random.integers(200, 4000, rows), pa.int32()),
        "format": constant("jpeg", rows),
        "orientation": pa.array(random.integers(1, 9, rows), pa.int32()),
        "content_hash": hexadecimal(random, rows, 32),
    }
    return pa.table([columns[name] for name in record_schema().names], schema=record_schema())


def hexadecimal(random: np.random.Generator, rows: int, digits: int) -> pa.Array:
    return pa.array(np.frombuffer(random.bytes(rows * digits // 2).hex().encode(), f"S{digits}")).cast(pa.string())


def joined(*parts: str | pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(*(pa.scalar(part) if isinstance(part, str) else part for part in parts), "")


def names(rank: str, numbers: np.ndarray) -> pa.Array:
    return joined(f"{rank}_", pa.array(numbers).cast(pa.string()))


def constant(value: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), rows)


def report(stage: str, seconds: float, rows: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(f"{stage}: {seconds:.1f} s, {rows / seconds:,.0f} rows/s, peak memory {peak:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
