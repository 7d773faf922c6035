"""Take synthetic records over real taxa through names, exclusions, groups, split, classes and statistics.

    python scripts/bench_biology.py --rows 10000000

The records stand for three sources: photos named by species, media of pages at any rank, and specimens whose ranks
end where nobody knew more. Their names are those of data/taxa.csv.gz as they are written there, with ranks missing,
hybrids, synonyms and homonyms; `--taxa` names another table. No image is read: records are loaded with what a scan
adds.

Prints for each stage its seconds, its processor time and its own peak of memory (Linux). Making the records is not
counted. `--plan` makes a whole plan as well, as `shardforge write --dry-run` does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from bench_mapping import constant, hexadecimal, joined

from shardforge.catalog.statistics import OF_IMAGES, OF_MAPPING, collect_statistics
from shardforge.dataset.collect import collect_planned, count_planned, list_classes
from shardforge.dataset.options import WriteOptions
from shardforge.dataset.planning import write_plan
from shardforge.images.convert import Conversion
from shardforge.mapping import Mapping, open_mapping
from shardforge.records import RANKS, record_schema
from shardforge.sources.names import Naming
from shardforge.sources.ranks import lowest_rank, normalise_ranks
from shardforge.splits.assign import assign_splits
from shardforge.splits.exclusion_lists import ExclusionList
from shardforge.splits.request import HoldOut
from shardforge.taxonomy.names import NamesChoice, open_names, parse_names_file

TAXA = Path(__file__).resolve().parent.parent / "data" / "taxa.csv.gz"
CHUNK = 1_000_000
BATCH = 65_536  # what a source lists at a time
COPIES = 100  # one record in so many has the bytes of another one
RARE_SPECIES, IMAGES_EACH = 400, 30
CONVERSION = Conversion((224, 224), "squash", False, "jpg", 90, 200_000_000, False, "fast")


@dataclass(frozen=True)
class Kind:
    """A source: its part of the records, and how often a rank and all below it are not known."""

    name: str
    percent: int
    cut: dict[str, float]


KINDS = (
    Kind("inat21", 27, {}),
    Kind("eol", 63, {"genus": 0.02, "species": 0.05}),
    Kind("bioscan", 10, {"family": 0.02, "genus": 0.1, "species": 0.7}),
)


class Stopwatch:
    """Prints what each stage took, and in the end what all took together."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._wall = self._cpu = self._peak = 0.0
        print(f"{rows:,} records\n{'stage':<34}{'seconds':>9}{'CPU s':>9}{'peak GB':>9}")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block; one stage may have several."""
        Path("/proc/self/clear_refs").write_text("5")  # begins a new peak
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.report(name, time.perf_counter() - wall, time.process_time() - cpu, peak_memory())

    def report(self, name: str, wall: float, cpu: float, peak: float) -> None:
        self._wall, self._cpu, self._peak = self._wall + wall, self._cpu + cpu, max(self._peak, peak)
        print(f"{name:<34}{wall:>9.1f}{cpu:>9.1f}{peak / 1e9:>9.2f}", flush=True)

    def close(self) -> None:
        print(f"{'all':<34}{self._wall:>9.1f}{self._cpu:>9.1f}{self._peak / 1e9:>9.2f}")


def peak_memory() -> int:
    """Return the peak of this process's memory in bytes since it was last reset."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["duckdb", "sqlite"], default="duckdb")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--taxa", type=Path, default=TAXA, help="table (CSV) with the columns of ranks and names")
    parser.add_argument("--plan", action="store_true", help="make a whole plan too")
    parser.add_argument("--folder", type=Path, default=None, help="where the database is made")
    options = parser.parse_args()
    watch = Stopwatch(options.rows)
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        with open_mapping(folder / f"mapping.{options.engine}", write=True, create=True) as mapping:
            load(mapping, options.taxa, options.rows, folder, watch)
            stand_in_for_a_search(mapping, options.rows)
            split(mapping, write_rare_species(mapping, folder), watch)
            for rank in ("genus", "species"):
                with watch.stage(f"classes: {rank}"):
                    classes = find_classes(mapping, rank)
                print(f"  {classes:,} classes")
            with watch.stage("statistics"):
                collect_statistics(mapping, {**OF_IMAGES, **OF_MAPPING})
            if options.plan:
                with watch.stage("plan"):
                    write_plan(mapping, write_options("species"), folder / "plan.parquet")
    watch.close()


def load(mapping: Mapping, taxa: Path, rows: int, folder: Path, watch: Stopwatch) -> None:
    """Make the records, settle their names as `shardforge map --names` does, and load them."""
    names = read_raw_names(taxa)
    wall = dict.fromkeys(("names", "load"), 0.0)
    cpu, peak = dict(wall), dict(wall)

    @contextmanager
    def part(name: str) -> Iterator[None]:
        Path("/proc/self/clear_refs").write_text("5")
        started, used = time.perf_counter(), time.process_time()
        yield
        wall[name] += time.perf_counter() - started
        cpu[name] += time.process_time() - used
        peak[name] = max(peak[name], peak_memory())

    with part("names"):
        choice = NamesChoice((parse_names_file(f"table:{taxa}"),))
        resolver = open_names(choice, cache=folder / "cache")
    random = np.random.default_rng(17)
    first = 0
    for kind in KINDS:
        naming = Naming(resolver, label_is_name=False)
        mapping.execute(
            "INSERT INTO sources VALUES ($name, $name, '/data', NULL, '{}', NULL, NULL, NULL, '', '')", name=kind.name
        )
        end = first + rows * kind.percent // 100
        for start in range(first, end, CHUNK):
            records = make_records(random, kind, names, start, min(CHUNK, end - start))
            with part("names"):
                batches = [naming.apply(name_records(batch)) for batch in records.to_batches(BATCH)]
            with part("load"), mapping.transaction():
                for batch in batches:
                    mapping.insert("images", batch)
        first = end
    with part("load"):
        mapping.index("images", "key", unique=True)
    for name in wall:
        watch.report(name, wall[name], cpu[name], peak[name])


def read_raw_names(path: Path) -> pa.Table:
    """Return the ranks of each taxon as the table has them; its name is the species where no species is given."""
    text = pacsv.ConvertOptions(strings_can_be_null=True, column_types=dict.fromkeys((*RANKS, "name"), pa.string()))
    with pa.input_stream(path) as stream:
        table = pacsv.read_csv(stream, convert_options=text)
    binomial = pc.if_else(pc.match_substring(table["name"], " "), table["name"], None)
    species = pc.coalesce(binomial, table["species"])
    return table.select(RANKS[:-1]).append_column("species", species).combine_chunks()


def make_records(random: np.random.Generator, kind: Kind, names: pa.Table, first: int, rows: int) -> pa.Table:
    """Return records of one source with raw names, in long-tailed classes; all columns are filled."""
    number = np.arange(first, first + rows)
    text = pa.array(number).cast(pa.string())
    taxon = np.repeat(random.zipf(1.2, rows // 3 + 1) * 7919 % names.num_rows, 3)[:rows]  # three photos an observation
    copied = np.where(number % COPIES == 0, number // 2, number)
    columns = {
        "key": hexadecimal(random, rows, 24),
        "source": constant(kind.name, rows),
        "path": joined("images/", pa.array(taxon).cast(pa.string()), "/", text, "_77_eol-full-size-copy.jpg"),
        "offset": pa.nulls(rows, pa.int64()),
        "bytes": pa.array(random.integers(20_000, 200_000, rows)),
        "mtime": pa.array(1_700_000_000_000_000_000 + number * 1_000_003),
        "group_id": joined("observation-", pa.array(first + (number - first) // 3).cast(pa.string())),
        **cut_ranks(random, kind, names.take(pa.array(taxon))),
        "license": joined("cc-by-nc-", pa.array(taxon % 6).cast(pa.string())),
        "author": joined("author_", pa.array(random.integers(0, 50_000, rows)).cast(pa.string())),
        "url": joined("https://example.org/observations/", text, "/original.jpg"),
        "metadata": joined('{"latitude": 51.5, "processid": "GMABC', text, '"}'),
        "reason": pa.array(np.where(random.random(rows) < 0.01, "truncated", None), pa.string()),
        "width": pa.array(random.integers(200, 4000, rows), pa.int32()),
        "height": pa.array(random.integers(200, 4000, rows), pa.int32()),
        "format": constant("jpeg", rows),
        "orientation": constant(1, rows).cast(pa.int32()),
        "content_hash": pc.utf8_slice_codeunits(joined(mix(copied), mix(copied + 1)), 0, 32),
    }
    nothing = pa.nulls(rows, pa.string())
    return pa.table([columns.get(name, nothing) for name in record_schema().names], schema=record_schema())


def mix(numbers: np.ndarray) -> pa.Array:
    """Return 16 hex digits for each number, which look random and are a function of it."""
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    digits = (mixed ^ (mixed >> np.uint64(32))).astype(">u8").tobytes().hex().encode()
    return pa.array(np.frombuffer(digits, "S16")).cast(pa.string())


def cut_ranks(random: np.random.Generator, kind: Kind, ranks: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Return the ranks of each record, some with an end."""
    chance = pa.array(random.random(ranks.num_rows))
    shares = {rank: max(kind.cut.get(higher, 0) for higher in RANKS[: i + 1]) for i, rank in enumerate(RANKS)}
    return {rank: pc.if_else(pc.less(chance, share), None, ranks[rank]) for rank, share in shares.items()}


def name_records(batch: pa.RecordBatch) -> pa.Table:
    """Return a batch with ranks in normal form and the lowest as the label, as the sources of organisms list it."""
    table = pa.Table.from_batches([batch])
    ranks = normalise_ranks({rank: batch[rank] for rank in RANKS}, batch.num_rows)
    for name, values in {**ranks, "label": lowest_rank(ranks)}.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def stand_in_for_a_search(mapping: Mapping, rows: int) -> None:
    """Store what `shardforge duplicates` would: a hash for each content, and small clusters of some percent of them."""
    digits = len(f"{rows:x}")
    mapping.execute(mapping.query("create_duplicates"))
    mapping.execute(
        "INSERT INTO perceptual_hashes SELECT DISTINCT content_hash, sha256(content_hash), 50, NULL FROM images;"
        "INSERT INTO near_duplicates SELECT content_hash, cluster FROM ("
        " SELECT content_hash, min(content_hash) OVER place AS cluster, count(*) OVER place AS contents"
        " FROM perceptual_hashes WHERE content_hash < '2'"
        f" WINDOW place AS (PARTITION BY substr(content_hash, 1, {digits}))"
        ") AS placed WHERE contents > 1;"
        "INSERT INTO near_duplicate_searches VALUES (20, 20, '', '');"
    )
    mapping.index("near_duplicates", "content_hash")
    mapping.index("perceptual_hashes", "content_hash")


def write_rare_species(mapping: Mapping, folder: Path) -> list[ExclusionList]:
    """Write lists as the rare-species benchmark has them: images of some species, and others with all their images."""
    rows = mapping.rows(
        "SELECT species, path FROM (SELECT species, path, row_number() OVER (PARTITION BY species ORDER BY path) AS n,"
        " dense_rank() OVER (ORDER BY species) AS place FROM images WHERE species <> '' AND source = 'eol') AS listed"
        " WHERE n <= $images AND place <= $species",
        images=IMAGES_EACH,
        species=2 * RARE_SPECIES,
    )
    species: dict[str, list[str]] = {}
    for name, path in sorted(rows):
        species.setdefault(name, []).append(f"/elsewhere/{Path(path).name}")
    names = list(species)
    for kind, chosen in (("seen", names[::2]), ("unseen", names[1::2])):
        (folder / f"{kind}.json").write_text(json.dumps({name: species[name] for name in chosen}))
    return [ExclusionList("seen", folder / "seen.json"), ExclusionList("unseen", folder / "unseen.json", taxa=True)]


def split(mapping: Mapping, lists: list[ExclusionList], watch: Stopwatch) -> None:
    """Split by group and near duplicates, with taxa held out; each step of it is a stage."""
    marks: list[tuple[str, float, float, int]] = []

    def mark(step: str, done: int = 0, total: int = 0) -> None:
        marks.append((step, time.perf_counter(), time.process_time(), peak_memory()))
        Path("/proc/self/clear_refs").write_text("5")

    report = assign_splits(
        mapping,
        seed=17,
        shares={"validation": Fraction(5, 100), "test": Fraction(5, 100)},
        group_by="group_id",
        group_near_duplicates=True,
        subsets={"train_small": Fraction(1, 10)},
        exclude=lists,
        hold_out=HoldOut(share=Fraction(1, 10)),
        progress=mark,
    )
    mark("end")
    for (step, wall, cpu, _), (_, next_wall, next_cpu, peak) in pairwise(marks):
        watch.report(f"split: {step}", next_wall - wall, next_cpu - cpu, peak)
    print(f"  {', '.join(f'{count.images:,} {count.split}' for count in report.splits)}")


def find_classes(mapping: Mapping, rank: str) -> int:
    options = write_options(rank)
    collect_planned(mapping, options)
    count_planned(mapping, options)
    return len(list_classes(mapping))


def write_options(rank: str) -> WriteOptions:
    return WriteOptions("bench", CONVERSION, label=rank, unlabelled="pretrain", texts=("sci", "taxon_com"))


if __name__ == "__main__":
    main()
