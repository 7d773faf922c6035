"""The plan: which record goes to which shard, in which order, with all that a worker needs to write it.

A plan is one Parquet file with one row group a shard, so that a worker anywhere reads its own shard without opening the
mapping. Its metadata hold the options, the classes and a digest for each shard: two plans with equal digests give equal
bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from shardforge.dataset.options import WriteOptions
from shardforge.errors import DatasetError, UsageError
from shardforge.files import atomic_write

SCHEMA = 1
_METADATA_KEY = b"shardforge"


@dataclass(frozen=True)
class PlannedShard:
    """One tar to write: `row_group` of the plan holds its `samples` records, `digest` stands for all that they say."""

    split: str
    number: int
    path: str
    row_group: int
    samples: int
    digest: str


@dataclass(frozen=True)
class Plan:
    """A dataset before it is written."""

    options: WriteOptions
    version: str
    roots: dict[str, str]
    classes: list[str] | None
    shards: list[PlannedShard] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        """Digest of options, classes and every record's place: equal for equal datasets."""
        digest = hashlib.sha256(json.dumps([SCHEMA, self.options.to_json(), self.classes], sort_keys=True).encode())
        for shard in self.shards:
            digest.update(f"{shard.path}:{shard.digest}\n".encode())
        return digest.hexdigest()

    @property
    def splits(self) -> list[str]:
        """The splits that hold samples, in the order in which they were asked for."""
        return list(dict.fromkeys(shard.split for shard in self.shards))

    @property
    def num_samples(self) -> int:
        """Records in the plan, before any turns out to be unreadable."""
        return sum(shard.samples for shard in self.shards)


def read_plan(path: Path) -> Plan:
    """Return the plan stored at `path`.

    Raises:
        DatasetError: there is none, it is damaged, or another version wrote it.
    """
    try:
        stored = json.loads(_open_plan(path).metadata.metadata[_METADATA_KEY])
        if stored["schema"] != SCHEMA:
            raise DatasetError(f"{path}: has schema {stored['schema']}, this version of shardforge reads {SCHEMA}")
        shards = [PlannedShard(**shard) for shard in stored["shards"]]
        options = WriteOptions.from_json(stored["options"])
        return Plan(options, stored["version"], stored["roots"], stored["classes"], shards)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: not found; only datasets written by `shardforge write` have a plan") from error
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise DatasetError(
            f"{path}: not a readable plan ({error}); run `shardforge write` again to make it anew"
        ) from error


def read_planned_rows(path: Path, row_group: int, columns: list[str] | None = None) -> pa.Table:
    """Return the records of one shard of the plan at `path`, in the order of the shard: all columns, or these."""
    return _open_plan(path).read_row_group(row_group, columns)


def read_plan_once(path: Path) -> Plan:
    """Return the plan at `path`, parsed once in each process as long as it stays the same file."""
    return _parsed_plan(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _parsed_plan(path: Path, modified: int) -> Plan:
    return read_plan(path)


def _open_plan(path: Path) -> pq.ParquetFile:
    return _cached_plan(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _cached_plan(path: str, modified: int) -> pq.ParquetFile:
    return pq.ParquetFile(path, memory_map=True)


@contextmanager
def open_plan_writer(path: Path) -> Iterator[PlanWriter]:
    """Open a plan to be written at `path`: each table is a shard, the description comes last."""
    with atomic_write(path) as file:
        writer = PlanWriter(file)
        try:
            yield writer
        finally:
            writer.close()


class PlanWriter:
    """A Parquet file with one row group a table and a description that is known only at its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Append the records of the next shard."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def describe(self, plan: Plan) -> None:
        """Store all of the plan but its records."""
        stored = {
            "schema": SCHEMA,
            "options": plan.options.to_json(),
            "version": plan.version,
            "roots": plan.roots,
            "classes": plan.classes,
            "shards": [asdict(shard) for shard in plan.shards],
        }
        if self._writer is not None:
            self._writer.add_key_value_metadata({_METADATA_KEY: json.dumps(stored).encode()})

    def close(self) -> None:
        """End the Parquet file."""
        if self._writer is not None:
            self._writer.close()
