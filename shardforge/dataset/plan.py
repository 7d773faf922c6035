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
from typing import IO, Any

import pyarrow as pa

from shardforge.dataset.layout import is_split_name, shard_path
from shardforge.dataset.options import WriteOptions
from shardforge.errors import DatasetError, NewerFormError, UsageError
from shardforge.files import atomic_write
from shardforge.parquet import ParquetTable, ParquetWriter

SCHEMA = 1
_METADATA_KEY = b"shardforge"
#: What is raised by files that are no plan, or no longer.
_UNREADABLE = (
    OSError,
    pa.ArrowException,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
    UsageError,
)


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
        NewerFormError: a newer release wrote it.
        DatasetError: there is none, or it is damaged.
    """
    try:
        table = _open_plan(path)
        return _parse(path, json.loads(table.metadata[_METADATA_KEY]), table.lengths)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: not found; only datasets written by `shardforge write` have a plan") from error
    except _UNREADABLE as error:
        raise DatasetError(
            f"{path}: not a readable plan ({error}); run `shardforge write` again to make it anew"
        ) from error


def _parse(path: Path, stored: dict[str, Any], lengths: list[int]) -> Plan:
    """Return the plan that a file of row groups of these lengths describes; raises one of `_UNREADABLE` for others."""
    if type(stored["schema"]) is int and stored["schema"] > SCHEMA:
        raise NewerFormError(
            f"{path}: has schema {stored['schema']}, this version of shardforge reads {SCHEMA}: a newer one wrote it; "
            "go on with that one"
        )
    _require(stored["schema"] == SCHEMA and type(stored["schema"]) is int, f"schema {stored['schema']!r}")
    options = WriteOptions.from_json(stored["options"], stored.get("later", {}))
    version, roots, classes = stored["version"], stored["roots"], stored["classes"]
    _require(isinstance(version, str), "a version that is no text")
    _require(isinstance(roots, dict) and all(isinstance(root, str) for root in roots.values()), "roots that are none")
    listed = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    _require(classes is None or listed, "classes that are no texts")
    shards = [PlannedShard(**shard) for shard in stored["shards"]]
    _require(len(shards) == len(lengths), f"{len(lengths)} row groups for {len(shards)} shards")
    for row_group, (shard, length) in enumerate(zip(shards, lengths, strict=True)):
        _require(_is_planned(shard, options.name, row_group, length), f"a shard that cannot be: {shard}")
    return Plan(options, version, roots, classes, shards)


def _is_planned(shard: PlannedShard, name: str, row_group: int, length: int) -> bool:
    """Tell whether a shard is as `shardforge write` plans the one of this row group."""
    counts = (shard.number, shard.row_group, shard.samples)
    return (
        all(type(count) is int for count in counts)
        and all(isinstance(text, str) for text in (shard.split, shard.path, shard.digest))
        and is_split_name(shard.split)
        and shard.path == shard_path(name, shard.split, shard.number)
        and (shard.row_group, shard.samples) == (row_group, length)
    )


def _require(good: bool, what: str) -> None:
    if not good:
        raise ValueError(f"it has {what}")


def read_planned_rows(path: Path, row_group: int, columns: list[str] | None = None) -> pa.Table:
    """Return the records of one shard of the plan at `path`, in the order of the shard: all columns, or these.

    Raises:
        DatasetError: they cannot be read, or are not those that were planned.
    """
    try:
        return _open_plan(path).read(row_group, columns)
    except _UNREADABLE as error:
        raise DatasetError(
            f"{path}: the records of its shard {row_group} cannot be read ({error}); run `shardforge write` again to "
            "make it anew"
        ) from error


def read_plan_once(path: Path) -> Plan:
    """Return the plan at `path`, parsed once in each process as long as it stays the same file."""
    return _parsed_plan(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _parsed_plan(path: Path, modified: int) -> Plan:
    return read_plan(path)


def _open_plan(path: Path) -> ParquetTable:
    found = path.stat()
    return _cached_plan(str(path), (found.st_mtime_ns, found.st_size, found.st_ino))


@lru_cache(maxsize=2)
def _cached_plan(path: str, state: tuple[int, ...]) -> ParquetTable:
    return ParquetTable(path)


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
        self._writer: ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Append the records of the next shard."""
        if self._writer is None:
            self._writer = ParquetWriter(self._file, table.schema)
        self._writer.write(table)

    def describe(self, plan: Plan) -> None:
        """Store all of the plan but its records, and end the file."""
        options, later = plan.options.to_stored()
        stored = {
            "schema": SCHEMA,
            "options": options,
            "later": later,
            "version": plan.version,
            "roots": plan.roots,
            "classes": plan.classes,
            "shards": [asdict(shard) for shard in plan.shards],
        }
        if self._writer is not None:
            self._writer.describe({_METADATA_KEY: json.dumps(stored).encode()})
            self._writer.finish()
            self._writer = None

    def close(self) -> None:
        """Let go of a plan that was not described."""
        if self._writer is not None:
            self._writer.abandon()
