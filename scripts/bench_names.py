"""Load a large file of vernacular names, first from its text and then from the cache, and look up names in it.

    python scripts/bench_names.py --taxa data/taxa.csv.gz --rows 3000000 --names 1000000

The file is laid out as EOL's vernacularnames.csv: four names in several languages for each of many taxa, whose genera
are those of the table TAXA and whose epithets are made up. The look-ups are of species with genus and family, nearly
all different; TAXA knows all genera, the file has a common name for some species. Each step is a process of its own and
prints its seconds and its peak of memory.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import multiprocessing
import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.records import RANKS
from shardforge.taxonomy.names import NamesChoice, open_names, parse_names_file
from shardforge.taxonomy.resolve import NameResolver

_LANGUAGES = ("eng", "fra", "deu", "spa", "jpn", "nld")
_SYLLABLES = ("al", "bo", "ca", "den", "el", "fus", "gra", "his", "ico", "lat", "mon", "nig", "or", "pal", "ru", "ti")
_HEADER = (
    "page_id,canonical_form,vernacular_string,language_code,"
    "resource_name,is_preferred_by_resource,is_preferred_by_eol\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taxa", type=Path, required=True, help="table (CSV) with the columns of ranks")
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--names", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, cache = Path(folder, "vernacularnames.csv"), Path(folder, "cache")
        run(make_file, options.taxa, file, options.rows)
        print(f"{options.rows:,} rows, {file.stat().st_size / 1e6:.0f} MB")
        files = [f"eol:{file}", f"table:{options.taxa}"]
        print(f"load from text: {run(load, files, cache)}")
        print(f"load from the cache: {run(load, files, cache)}")
        print(f"{options.names:,} look-ups: {run(look_up, files, cache, options.taxa, options.names)}", flush=True)


def run(function, *arguments) -> str:
    """Run a function in a new process; return its seconds and its peak of memory as text."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, cpu = pool.apply(function, arguments)
        peak = pool.apply(peak_memory)
    return f"{seconds:.2f} s ({cpu:.2f} s of processor time), peak {peak / 1e9:.2f} GB"


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make_epithets(count: int) -> list[str]:
    """Return distinct made-up epithets."""
    numbers = np.arange(count)
    base = len(_SYLLABLES)
    return ["".join(_SYLLABLES[number // base**i % base] for i in range(4)) + "us" for number in numbers]


def read_taxa(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as text:
        return [row for row in csv.DictReader(text) if row["genus"]]


def make_file(taxa: Path, file: Path, rows: int) -> tuple[float, float]:
    genera = sorted({row["genus"] for row in read_taxa(taxa)})
    epithets = make_epithets(4_096)
    numbers = random.Random(17)
    per_taxon = 2 * len(_LANGUAGES) // 3
    with open(file, "w", encoding="utf-8") as text:
        text.write(_HEADER)
        for i in range(rows):
            page = i // per_taxon
            name = f"{genera[page % len(genera)]} {epithets[page // len(genera) % len(epithets)]}"
            preferred = "preferred" if i % per_taxon == 0 else ""
            language = _LANGUAGES[numbers.randrange(len(_LANGUAGES))]
            text.write(f'{page},{name},"common name {i % 77_777}",{language},wikidata,,{preferred}\n')
    return 0.0, 0.0


def load(files: list[str], cache: Path) -> tuple[float, float]:
    return timed(lambda: open_files(files, cache))


def open_files(files: list[str], cache: Path) -> NameResolver:
    return open_names(NamesChoice(tuple(map(parse_names_file, files))), cache=cache)


def look_up(files: list[str], cache: Path, taxa: Path, count: int) -> tuple[float, float]:
    resolver = open_files(files, cache)
    rows = read_taxa(taxa)
    epithets = make_epithets(8_192)
    picked = np.random.default_rng(17).integers(0, len(rows), count)
    columns = {rank: pa.nulls(count, pa.string()) for rank in RANKS}
    for rank in ("genus", "family"):
        columns[rank] = pa.array([row[rank] for row in rows], pa.string()).take(pa.array(picked))
    made_up = pa.array(epithets).take(pa.array(np.arange(count) % len(epithets)))
    columns["species"] = pc.binary_join_element_wise(columns["genus"], made_up, " ")
    return timed(lambda: resolver.resolve(columns))


def timed(work) -> tuple[float, float]:
    """Return the seconds that `work` takes, and those of the processor."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu


if __name__ == "__main__":
    main()
