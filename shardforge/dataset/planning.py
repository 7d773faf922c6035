"""Make a plan: collect the records, number the classes, shuffle by the seed, cut into shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from collections.abc import Mapping as MappingABC
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge import __version__
from shardforge.dataset.collect import collect_planned, count_planned, list_classes
from shardforge.dataset.layout import shard_path
from shardforge.dataset.options import WriteOptions
from shardforge.dataset.plan import Plan, PlannedShard, open_plan_writer
from shardforge.mapping import Mapping
from shardforge.taxonomy.text import TEXT_RULES, TEXTS

#: Columns that may change without changing what is written.
_NOT_DIGESTED = ("offset", "mtime", "class_name")
#: Bytes of the text members and headers of a sample, for the estimate of a shard's size.
_SMALL_MEMBERS = 3_000
#: Bits per pixel after encoding a photo at about 224 px, by format; JPEG by quality. Only decides where shards are cut.
_BITS_PER_PIXEL = {"png": 14.0, "webp": 1.3}
_JPEG_BITS_PER_PIXEL = ((75, 1.2), (85, 1.7), (90, 2.2), (95, 3.2), (100, 6.0))


def write_plan(
    mapping: Mapping, options: WriteOptions, path: Path, *, makers: MappingABC[str, str] | None = None
) -> Plan:
    """Plan the dataset that `options` describe and write the plan to `path`.

    `makers` are the versions of this package that made plans before, by their SHA-256: one that is made again keeps
    its own, so that an upgrade changes no manifest.

    Raises:
        UsageError: a split, subset or split run that the mapping does not have, or no record has the label.
    """
    roots = dict(mapping.rows("SELECT name, root FROM sources ORDER BY name"))
    collect_planned(mapping, options)
    counts = count_planned(mapping, options)
    classes = list_classes(mapping) if options.label else None
    shards: list[PlannedShard] = []
    with open_plan_writer(path) as writer:
        for split, count in counts.items():
            rows = mapping.batches(mapping.query("select_plan"), split=split, seed=str(options.seed))
            for number, table in enumerate(cut_shards(rows, count, options)):
                labelled = _with_labels(table, classes)
                digest = _digest(labelled, split, options)
                place = shard_path(options.name, split, number)
                shards.append(PlannedShard(split, number, place, len(shards), labelled.num_rows, digest))
                writer.write(labelled)
        plan = Plan(options, __version__, roots, classes, shards)
        plan = replace(plan, version=(makers or {}).get(plan.sha256, __version__))
        writer.describe(plan)
    return plan


def _with_labels(table: pa.Table, classes: list[str] | None) -> pa.Table:
    """Replace `class_name` by its index in `classes` (null without classes, and where there is none)."""
    if classes is None:
        indices = pa.nulls(table.num_rows, pa.int32())
    else:
        indices = pc.index_in(table["class_name"].cast(pa.string()), value_set=pa.array(classes, pa.string()))
    position = table.schema.get_field_index("class_name")
    return table.set_column(position, "class_index", indices)


def _digest(table: pa.Table, split: str, options: WriteOptions) -> str:
    """Return what stands for a shard's bytes: its records, and the options that decide what becomes of them."""
    columns = [name for name in table.column_names if name not in _NOT_DIGESTED]
    unhashed = pc.if_else(pc.is_null(table["content_hash"]), table["mtime"], None)  # all that tells a changed file
    chosen = options.to_json()
    texts = {extension: [TEXT_RULES, TEXTS[kind]] for extension, kind in options.text_members.items()}
    deciding = [chosen["conversion"], options.members_of(split), chosen["encoder"], texts]
    header = json.dumps([deciding, columns, table.num_rows], ensure_ascii=False)
    digest = hashlib.sha256(header.encode("utf-8", "surrogatepass"))
    for values in (unhashed, *(table[name] for name in columns)):
        for part in _iter_content(values):
            digest.update(part)
    return digest.hexdigest()


def _iter_content(column: pa.ChunkedArray) -> Iterator[bytes]:
    """Yield what a column of texts or integers holds, however it is cut into chunks."""
    if not pa.types.is_string(column.type):
        yield np.asarray(pc.is_valid(column)).tobytes()
        yield np.asarray(pc.fill_null(column, 0).cast(pa.int64())).tobytes()
        return
    yield np.asarray(pc.fill_null(pc.binary_length(column), -1)).tobytes()
    for chunk in column.chunks:
        texts = pa.ListArray.from_arrays(pa.array([0, len(chunk)], pa.int32()), pc.fill_null(chunk, ""))
        yield pc.binary_join(texts, "")[0].as_buffer().to_pybytes()


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
