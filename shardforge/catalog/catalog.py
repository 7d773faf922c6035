"""The catalog: `catalog.parquet` beside the shards, one row a sample, with what is known of its image.

It comes from plan and receipts alone, so it says what the shards hold, whatever became of the mapping since. Its
metadata hold the SHA-256 of the manifest that it belongs to.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shardforge.catalog.licences import Licence, recognise_licence
from shardforge.dataset.layout import Layout
from shardforge.dataset.lock import lock_dataset
from shardforge.dataset.plan import Plan, PlannedShard, read_plan, read_planned_rows
from shardforge.dataset.receipt import Receipt, read_receipt
from shardforge.errors import DatasetError
from shardforge.files import atomic_write, sha256_file
from shardforge.mapping import Mapping
from shardforge.mapping.duckdb import MEMORY, DuckDBMapping
from shardforge.parquet import ParquetTable, write_parquet
from shardforge.queries import load_query
from shardforge.records import RANKS
from shardforge.verify.problems import Problem

_MANIFEST_KEY = b"manifest_sha256"
_PLANNED = ("source", "path", *RANKS, "common_name", "label", "license", "author", "url")
_NUMBERS = {"width": pa.int32(), "height": pa.int32(), "bytes": pa.int64()}

#: `position` counts in the shard, from 0; `class_index` and `class_name` are what `.cls` says; `license` is as the
#: source spells it, `license_name` and `license_url` the same licence in one spelling, null when it is not a known one;
#: `width`, `height`, `bytes` and `content_hash` are of the source's image, not of the resized copy; `metadata` is JSON.
SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("filename", pa.string()),
        ("shard", pa.int32()),
        ("position", pa.int32()),
        ("key", pa.string()),
        ("class_index", pa.int32()),
        ("class_name", pa.string()),
        *((name, pa.string()) for name in _PLANNED),
        ("license_name", pa.string()),
        ("license_url", pa.string()),
        *_NUMBERS.items(),
        ("content_hash", pa.string()),
        ("metadata", pa.string()),
    ]
)


def write_catalog(out: Path, *, progress: Callable[[str, int, int], None] = lambda stage, done, total: None) -> int:
    """Write the catalog of the finished dataset in `out`, in the order of its shards; return the number of rows.

    Raises:
        DatasetError: the dataset has no plan, is not finished, or another run is writing it.
    """
    layout = Layout(out)
    plan = read_plan(layout.plan)
    schema = SCHEMA.with_metadata({_MANIFEST_KEY: _digest_manifest(layout)})
    rows = 0
    with lock_dataset(layout.lock):
        shutil.rmtree(layout.scratch, ignore_errors=True)  # of a run that was killed
        with (
            atomic_write(layout.catalog, scratch=layout.scratch) as file,
            write_parquet(file, schema) as writer,
        ):
            for done, shard in enumerate(plan.shards, start=1):
                table = _describe_shard(layout, plan, shard)
                writer.write(table.cast(schema))
                rows += table.num_rows
                progress("catalog", done, len(plan.shards))
    return rows


def has_current_catalog(layout: Layout) -> bool:
    """Whether there is a catalog, and it belongs to the manifest that is there and has the columns of this version.

    Raises:
        DatasetError: the file is not a catalog.
    """
    if not layout.catalog.is_file():
        return False
    try:
        with ParquetTable(layout.catalog) as stored:
            stored.check()
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{layout.catalog}: not a Parquet file ({error}); move it away and run again") from error
    return bool(stored.schema.equals(SCHEMA) and stored.metadata.get(_MANIFEST_KEY) == _digest_manifest(layout))


def check_catalog(layout: Layout) -> Iterator[Problem]:
    """Yield a problem where the catalog is not that of this dataset; a dataset need not have one."""
    try:
        current = not layout.catalog.exists() or has_current_catalog(layout)
    except DatasetError:
        current = False
    if not current:
        expected = f"the rows of this dataset: run `shardforge catalog {layout.out}`"
        yield Problem("companion_value", layout.catalog.name, "", expected, "those of another", shard=False)


def has_metadata(catalog: Path) -> bool:
    """Whether any row of a catalog has `metadata`, by the file's own statistics."""
    stored = pq.read_metadata(catalog)
    column = SCHEMA.get_field_index("metadata")
    groups = (stored.row_group(number) for number in range(stored.num_row_groups))
    return any(group.num_rows > group.column(column).statistics.null_count for group in groups)


@contextmanager
def open_catalog(path: Path, *, labelled: bool) -> Iterator[Mapping]:
    """Open a catalog as a mapping of its images: `images`, `sources` and `catalog`, for the statements in `sql/`.

    `labelled` says that the dataset has classes: then no other labels count as such.
    """
    with DuckDBMapping(MEMORY, write=True) as mapping:
        quoted = str(path).replace("'", "''")
        label = "coalesce(c.class_name, '')" if labelled else "c.label"
        mapping.execute(load_query("create_catalog_views").format(catalog=quoted, label=label))
        yield mapping


def _digest_manifest(layout: Layout) -> bytes:
    if not layout.manifest.is_file():
        raise DatasetError(f"{layout.manifest}: not found; finish the dataset with `shardforge write` first")
    return sha256_file(layout.manifest).encode()


def _describe_shard(layout: Layout, plan: Plan, shard: PlannedShard) -> pa.Table:
    """Return the rows of one shard."""
    receipt = read_receipt(layout.receipt(shard.path))
    if receipt is None:
        raise DatasetError(f"{layout.out / shard.path}: is not written yet; run `shardforge write` first")
    rows = _written_rows(layout.plan, shard, receipt)
    licences = _licence_columns(rows["license"])
    names = pa.nulls(len(rows), pa.string())
    if plan.classes is not None:
        names = pa.array(plan.classes, pa.string()).take(rows["class_index"].combine_chunks())
    columns = {
        "split": pa.repeat(shard.split, len(rows)),
        "filename": pa.repeat(shard.path, len(rows)),
        "shard": pa.repeat(pa.scalar(shard.number, pa.int32()), len(rows)),
        "position": pa.array(range(len(rows)), pa.int32()),
        "class_name": names,
        **licences,
    }
    return pa.table({name: columns[name] if name in columns else rows[name] for name in SCHEMA.names})


def _written_rows(plan: Path, shard: PlannedShard, receipt: Receipt) -> pa.Table:
    rows = read_planned_rows(plan, shard.row_group)
    if receipt.bad:
        rows = rows.filter(pc.invert(pc.is_in(rows["key"], value_set=pa.array(receipt.bad, pa.string()))))
    return rows


def _licence_columns(texts: pa.ChunkedArray) -> dict[str, pa.Array]:
    """Return `license_name` and `license_url`; a shard has few different licences, so each is looked up once."""
    spellings = texts.combine_chunks().dictionary_encode()
    known: list[Licence | None] = [recognise_licence(text) for text in spellings.dictionary.to_pylist()]
    names = pa.array([licence and licence.name for licence in known], pa.string())
    urls = pa.array([licence and licence.url for licence in known], pa.string())
    return {"license_name": names.take(spellings.indices), "license_url": urls.take(spellings.indices)}
