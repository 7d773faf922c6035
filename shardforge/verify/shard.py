"""Verify one shard: the work function that executors run."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from shardforge.errors import ImageError
from shardforge.files import FileView, sha256_file
from shardforge.images.convert import check_image, choose_codec
from shardforge.parquet import ParquetTable
from shardforge.tarfiles import Member, TarError, TruncatedTarError, iter_members
from shardforge.verify.diagnose import diagnose_shard, expected_members
from shardforge.verify.problems import Problem

LEVELS = ("size", "checksum", "decode")
IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"})

#: Digits of a label: more than any class file has lines.
_MOST_DIGITS = 18


@dataclass(frozen=True)
class ShardCheck:
    """One shard to verify. What is None is not known, as for shards that others wrote.

    `optional` are the extensions that some samples of the shard lack by intention.
    """

    path: str
    file: str
    level: str
    bytes: int | None = None
    sha256: str | None = None
    samples: int | None = None
    classes: int | None = None
    index: str | None = None
    row_group: int = 0
    extensions: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ShardFindings:
    """What was found: problems, the file's SHA-256 where it was computed, samples and 64-bit hashes of their keys.

    `incomplete` samples lack a member that is optional.
    """

    problems: list[Problem] = field(default_factory=list)
    sha256: str | None = None
    samples: int | None = None
    keys: np.ndarray | None = None
    incomplete: int = 0


def verify_shard(check: ShardCheck) -> ShardFindings:
    """Verify one shard at the level of `check`; never raises for what is wrong with the file."""
    path = Path(check.path)
    try:
        size = path.stat().st_size
        if check.level == "size":
            return ShardFindings(_check_size(check, size))
        sha256 = sha256_file(path) if check.sha256 is not None else None
        if sha256 != check.sha256:
            return ShardFindings(_explain(check, path, size), sha256)
        if check.level == "checksum":
            return ShardFindings([], sha256, check.samples)
        return _read_samples(check, path, sha256)
    except FileNotFoundError:
        return ShardFindings([Problem("shard_missing", check.file)])
    except OSError as error:
        return ShardFindings([Problem("shard_unreadable", check.file, found=error.strerror or str(error))])


def _check_size(check: ShardCheck, size: int) -> list[Problem]:
    if check.bytes is None or check.bytes == size:
        return []
    code = "shard_truncated" if size < check.bytes else "shard_size"
    return [Problem(code, check.file, expected=f"{check.bytes:,} bytes", found=f"{size:,}")]


def _explain(check: ShardCheck, path: Path, size: int) -> list[Problem]:
    """Name the damage from the index; where that finds nothing, say that the checksum is wrong."""
    problems: list[Problem] = []
    if check.index is not None:
        try:
            rows = _open_index(check.index).read(check.row_group)
            problems = diagnose_shard(path, check.file, expected_members(rows, check.extensions))
        except (OSError, pa.ArrowException, LookupError):
            problems = []  # a damaged index is a problem of its own, found by the driver
    problems = problems or _check_size(check, size)
    return problems or [Problem("shard_checksum", check.file, expected=f"sha256 {check.sha256}")]


@lru_cache(maxsize=4)
def _open_index(path: str) -> ParquetTable:
    return ParquetTable(path)


def _read_samples(check: ShardCheck, path: Path, sha256: str | None) -> ShardFindings:
    """Walk the tar, decode every image and parse every label and text."""
    problems: list[Problem] = []
    keys: list[str] = []
    incomplete = 0
    with open(path, "rb", buffering=0) as handle:
        view = FileView(handle.fileno())
        shapes: Counter[tuple[str, ...]] = Counter()
        samples: dict[str, tuple[str, ...]] = {}
        try:
            for key, members in _group_samples(iter_members(view)):
                if key in samples:
                    problems.append(Problem("key_twice", check.file, key))
                extensions = tuple(_extension(member.name) for member in members)
                incomplete += not check.optional <= set(extensions)
                shape = tuple(name for name in extensions if name not in check.optional)
                samples[key] = shape
                shapes[tuple(sorted(set(shape)))] += 1
                keys.append(key)
                problems += _check_sample(check, view, key, members)
        except TarError as error:
            code = "shard_truncated" if isinstance(error, TruncatedTarError) else "tar_header"
            problems.append(Problem(code, check.file, found=str(error)))
        problems += _check_shapes(check.file, samples, shapes)
    if check.samples is not None and check.samples != len(keys):
        problems.append(Problem("shard_samples", check.file, expected=str(check.samples), found=str(len(keys))))
    return ShardFindings(problems, sha256, len(keys), _hash_keys(keys), incomplete)


def _group_samples(members: Iterator[Member]) -> Iterator[tuple[str, list[Member]]]:
    """Group consecutive members of equal key: the name up to the first dot of its last part, as webdataset does."""
    key = ""
    held: list[Member] = []
    for member in members:
        folder, slash, base = member.name.rpartition("/")
        name = folder + slash + base.partition(".")[0]
        if held and name != key:
            yield key, held
            held = []
        key = name
        held.append(member)
    if held:
        yield key, held


def _extension(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _check_sample(check: ShardCheck, view: FileView, key: str, members: list[Member]) -> Iterator[Problem]:
    names = Counter(member.name for member in members)
    yield from (Problem("member_duplicate", check.file, name) for name, count in names.items() if count > 1)
    if not any(_extension(name).rpartition(".")[2] in IMAGE_EXTENSIONS for name in names):
        yield Problem("member_missing", check.file, key, expected="an image")
    for member in members:
        extension = _extension(member.name).rpartition(".")[2]
        problem = _check_member(extension, view[member.data_offset : member.data_offset + member.size], check.classes)
        if problem is not None:
            code, expected, found = problem
            yield Problem(code, check.file, member.name, expected, found)


def _check_member(extension: str, data: bytes, classes: int | None) -> tuple[str, str, str] | None:
    """Return (code, expected, found) for what is wrong with a member, or None."""
    if extension in IMAGE_EXTENSIONS:
        try:
            check_image(data, _codec())
        except ImageError as error:
            return "image_undecodable", "", str(error)
    elif extension == "cls":
        label = int(data) if data.isdigit() and len(data) <= _MOST_DIGITS else None
        if label is None or (classes is not None and label >= classes):
            wanted = "an integer" if classes is None else f"0 to {classes - 1}"
            return "label_range", wanted, data[:40].decode("ascii", "backslashreplace")
    elif extension == "json":
        try:
            if not isinstance(json.loads(data), dict):
                return "text_invalid", "a JSON object", "another JSON value"
        except (ValueError, RecursionError) as error:
            return "text_invalid", "a JSON object", str(error)
    elif extension == "txt":
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            return "text_invalid", "UTF-8 text", str(error)
    return None


def _check_shapes(
    file: str, samples: dict[str, tuple[str, ...]], shapes: Counter[tuple[str, ...]]
) -> Iterator[Problem]:
    """Compare each sample's members with those that most samples have."""
    if len(shapes) <= 1:
        return
    usual = set(shapes.most_common(1)[0][0])
    for key, shape in samples.items():
        for extension in sorted(usual - set(shape)):
            yield Problem("member_missing", file, f"{key}.{extension}")
        for extension in sorted(set(shape) - usual):
            yield Problem("member_extra", file, f"{key}.{extension}")


def _hash_keys(keys: list[str]) -> np.ndarray:
    joined = b"".join(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest() for key in keys)
    return np.frombuffer(joined, np.uint64)


@lru_cache(maxsize=1)
def _codec() -> str:
    return choose_codec("auto")
