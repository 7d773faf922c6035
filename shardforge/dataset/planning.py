"""Make a plan: collect the records, number the classes, shuffle by the seed, cut into shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from shardforge import __version__
from shardforge.dataset.layout import shard_path
from shardforge.dataset.options import WriteOptions, missing_run
from shardforge.dataset.plan import Plan, PlannedShard, open_plan_writer
from shardforge.errors import UsageError
from shardforge.mapping import Mapping

#: Columns that may change without changing what is written.
_NOT_DIGESTED = ("offset", "mtime", "class_name")
#: Bytes of the text members and headers of a sample, for the estimate of a shard's size.
_SMALL_MEMBERS = 3_000
#: Bits per pixel after encoding a photo at about 224 px, by format; JPEG by quality. Only decides where shards are cut.
_BITS_PER_PIXEL = {"png": 14.0, "webp": 1.3}
_JPEG_BITS_PER_PIXEL = ((75, 1.2), (85, 1.7), (90, 2.2), (95, 3.2), (100, 6.0))


def write_plan(mapping: Mapping, options: WriteOptions, path: Path) -> Plan:
    """Plan the dataset that `options` describe and write the plan to `path`.

    Raises:
        UsageError: a split, subset or split run that the mapping does not have, or no record has the label.
    """
    roots = dict(mapping.rows("SELECT name, root FROM sources ORDER BY name"))
    collect_planned(mapping, options)
    counts = _count_planned(mapping, options)
    classes = _list_classes(mapping) if options.label else None
    shards: list[PlannedShard] = []
    with open_plan_writer(path) as writer:
        for split, count in counts.items():
            rows = mapping.batches(mapping.query("select_plan"), split=split, seed=str(options.seed))
            for number, table in enumerate(cut_shards(rows, count, options)):
                labelled = _with_labels(table, classes)
                digest = _digest(labelled, options)
                place = shard_path(options.name, split, number)
                shards.append(PlannedShard(split, number, place, len(shards), labelled.num_rows, digest))
                writer.write(labelled)
        plan = Plan(options, __version__, roots, classes, shards)
        writer.describe(plan)
    return plan


def collect_planned(mapping: Mapping, options: WriteOptions) -> None:
    """Fill the temporary table `planned` with the records of the asked splits, also those without a label.

    Raises:
        UsageError: the mapping has no such split run, split or subset.
    """
    run = options.split_run
    stored = mapping.rows("SELECT parameters FROM split_runs WHERE name = $name", name=run)
    if not stored:
        raise missing_run(mapping, run)
    shares = {name: Fraction(share) for name, share in json.loads(stored[0][0]).get("subsets", {}).items()}
    known = [row[0] for row in mapping.rows("SELECT DISTINCT split FROM splits WHERE name = $name", name=run)]
    mapping.execute("DROP TABLE IF EXISTS planned")
    mapping.execute("CREATE TEMP TABLE planned (split VARCHAR, key VARCHAR, class_name VARCHAR)")
    for split in dict.fromkeys(options.splits) or sorted(known, key=_split_rank):
        if split not in known and split not in shares:
            there = ", ".join([*sorted(known, key=_split_rank), *shares])
            raise UsageError(f"--splits {split}: not in the split run {run} of {mapping.path}; it has {there}")
        inside = [name for name, share in shares.items() if share <= shares.get(split, 0)]
        mapping.execute(
            mapping.query("insert_planned"),
            name=run,
            planned=split,
            split="" if split in shares else split,
            subsets=f",{','.join(inside)}," if inside else "",
            column=options.label,
        )


def _count_planned(mapping: Mapping, options: WriteOptions) -> dict[str, int]:
    """Drop the planned records without a label, where labels are asked for; return how many are left in each split."""
    run = options.split_run
    if options.label is not None:
        mapping.execute("DELETE FROM planned WHERE class_name IS NULL")
    counts = dict(mapping.rows("SELECT split, count(*) FROM planned GROUP BY split"))
    if not counts:
        raise UsageError(
            f"{mapping.path}: no record of the split run {run} has a value in the column {options.label}; "
            "choose another --label, or --label none"
            if options.label
            else f"{mapping.path}: the split run {run} holds no record to write; run `shardforge split` again"
        )
    return {split: counts[split] for split in sorted(counts, key=_split_rank)}


def _split_rank(split: str) -> tuple[int, str]:
    """Order splits as people do: train, validation, test, then subsets by name."""
    usual = ("train", "validation", "test")
    return (usual.index(split) if split in usual else len(usual), split)


def _list_classes(mapping: Mapping) -> list[str]:
    """Return the class names of all splits, sorted by code point so that every engine gives the same indices."""
    names = [row[0] for row in mapping.rows("SELECT DISTINCT class_name FROM planned")]
    broken = next((name for name in names if "\n" in name or "\r" in name), None)
    if broken is not None:
        raise UsageError(f"class {broken!r}: holds a line break, which classes.txt cannot; correct it in the source")
    return sorted(names)


def _with_labels(table: pa.Table, classes: list[str] | None) -> pa.Table:
    """Replace `class_name` by its index in `classes` (null without classes)."""
    if classes is None:
        indices = pa.nulls(table.num_rows, pa.int32())
    else:
        indices = pc.index_in(table["class_name"].cast(pa.string()), value_set=pa.array(classes, pa.string()))
    position = table.schema.get_field_index("class_name")
    return table.set_column(position, "class_index", indices)


def _digest(table: pa.Table, options: WriteOptions) -> str:
    """Return what stands for a shard's bytes: its records, and the options that decide what becomes of them."""
    columns = [name for name in table.column_names if name not in _NOT_DIGESTED]
    unhashed = pc.if_else(pc.is_null(table["content_hash"]), table["mtime"], None)  # all that tells a changed file
    chosen = options.to_json()
    deciding = [chosen["conversion"], chosen["members"], chosen["encoder"]]
    content = [deciding, columns, unhashed.to_pylist(), *(table[name].to_pylist() for name in columns)]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def cut_shards(batches: Iterator[pa.Table], count: int, options: WriteOptions) -> Iterator[pa.Table]:
    """Yield the rows of each shard: nearly equal numbers of samples, none above the limits on samples and bytes."""
    shards = max(1, -(-count // options.shard_samples))
    most_samples = -(-count // shards)
    held: list[pa.Table] = []
    samples = size = 0
    for batch in batches:
        start = 0
        for row, estimate in enumerate(_estimate_bytes(batch, options)):
            if samples and (samples >= most_samples or size + estimate > options.shard_bytes):
                yield pa.concat_tables([*held, batch.slice(start, row - start)])
                held, samples, size, start = [], 0, 0, row
            samples += 1
            size += estimate
        held.append(batch.slice(start))
    if samples:
        yield pa.concat_tables(held)


def _estimate_bytes(batch: pa.Table, options: WriteOptions) -> list[int]:
    """Return about how many bytes each sample takes in a shard: encoded at the target size, or as stored."""
    conversion = options.conversion
    if conversion.size is None:
        return [size + _SMALL_MEMBERS for size in pc.fill_null(batch["bytes"], 0).to_pylist()]
    bits = _BITS_PER_PIXEL.get(conversion.format) or next(
        value for quality, value in _JPEG_BITS_PER_PIXEL if conversion.quality <= quality
    )
    width, height = conversion.size
    return [round(width * height * bits / 8) + _SMALL_MEMBERS] * batch.num_rows
