"""Verify one shard: the work function that executors run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.executors.items import begin_item
from shardforge.files import FileView, open_regular, sha256_file
from shardforge.images.convert import FORMATS, check_image, choose_codec
from shardforge.parquet import ParquetTable
from shardforge.samples import (
    LABEL,
    MOST_IMAGE,
    MOST_LABEL,
    MOST_TEXT,
    Sample,
    SampleNotes,
    hash_keys,
    is_image_extension,
    iter_samples,
    parse_label,
    split_name,
)
from shardforge.tarfiles import (
    CompressedTarError,
    Member,
    TarError,
    TruncatedTarError,
    find_compression,
    iter_members,
)
from shardforge.verify.diagnose import diagnose_shard, expected_members
from shardforge.verify.problems import Problem

LEVELS = ("size", "checksum", "decode")

#: Extensions of the members of a sample that others should have, too.
_Shape = tuple[str, ...]


@dataclass(frozen=True)
class ShardCheck:
    """One shard to verify. What is None is not known, as for shards that others wrote.

    A shard is judged by what webdataset, timm and our loader read; with `strict` by what `shardforge write` makes:
    samples of the same members in the same order, one image in each, of which those with the extensions `optional` may
    be missing; suffixes in lower case; labels of digits alone. The samples whose numbers are in `deadly` are not read,
    for the reasons given there.
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
    strict: bool = False
    deadly: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardFindings:
    """What was found: problems, the file's SHA-256 where it was computed, samples and 64-bit hashes of their keys.

    `notes` are on samples that are odd, though not damaged.
    """

    problems: list[Problem] = field(default_factory=list)
    sha256: str | None = None
    samples: int | None = None
    keys: np.ndarray | None = None
    notes: SampleNotes = field(default_factory=SampleNotes)


def verify_shard(check: ShardCheck) -> ShardFindings:
    """Verify one shard at the level of `check`; never raises for what is wrong with the file."""
    path = Path(check.path)
    try:
        size = path.stat().st_size
        if compressed := find_compression(path.name):
            return ShardFindings([Problem("shard_compressed", check.file, found=f"it {compressed}")])
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
    shapes: dict[str, _Shape] = {}
    keys: list[str] = []
    notes = SampleNotes()
    with open(open_regular(path), "rb", buffering=0) as handle:
        view = FileView(handle.fileno())
        try:
            for sample in iter_samples(iter_members(view, odd=True), strays=True):
                if not sample.key:
                    problems += _check_stray(check.file, sample.members[0][1], notes)
                    continue
                if sample.key in shapes:
                    problems.append(Problem("key_twice", check.file, sample.key))
                notes.add_sample(check.file, sample)
                shapes[sample.key] = sample.extensions if check.strict else _list_texts(sample)
                begin_item(len(keys))
                if why := check.deadly.get(len(keys)):
                    problems.append(Problem("reader_killed", check.file, sample.key, found=why))
                else:
                    problems += _check_sample(check, view, sample)
                keys.append(sample.key)
        except TarError as error:
            problems.append(Problem(_code_of(error), check.file, found=str(error)))
        problems += _check_shapes(check, shapes)
    hashes = hash_keys(keys)
    notes.add_scattered(check.file, hashes, keys.__getitem__)
    if check.samples is not None and check.samples != len(keys):
        problems.append(Problem("shard_samples", check.file, expected=str(check.samples), found=str(len(keys))))
    return ShardFindings(problems, sha256, len(keys), hashes, notes)


def _check_stray(file: str, member: Member, notes: SampleNotes) -> Iterator[Problem]:
    """Note a member that belongs to no sample; one that would, if its bytes lay there as they are, is a problem."""
    if member.reason == reasons.COMPRESSED and split_name(member.name)[0]:
        yield Problem("member_packed", file, member.name)
    else:
        notes.add_stray(file, member)


def _code_of(error: TarError) -> str:
    if isinstance(error, CompressedTarError):
        return "shard_compressed"
    return "shard_truncated" if isinstance(error, TruncatedTarError) else "tar_header"


def _list_texts(sample: Sample) -> _Shape:
    """Return the members that readers need in each sample if in one: neither images, of any format, nor labels."""
    return tuple(sorted({name for name in sample.extensions if _kind_of(name) not in ("image", LABEL)}))


def _check_shapes(check: ShardCheck, shapes: dict[str, _Shape]) -> Iterator[Problem]:
    """Compare each sample's members with those that most samples have."""
    counts = Counter(shapes.values())
    if len(counts) <= 1:
        return
    usual = counts.most_common(1)[0][0]
    for key, shape in shapes.items():
        for extension in sorted(set(usual) - set(shape) - check.optional):
            yield Problem("member_missing", check.file, f"{key}.{extension}")
        if check.strict:
            for extension in sorted(set(shape) - set(usual) - check.optional):
                yield Problem("member_extra", check.file, f"{key}.{extension}")
            expected, found = [name for name in usual if name in shape], [name for name in shape if name in usual]
            if expected != list(dict.fromkeys(found)):
                yield Problem("member_order", check.file, key, ", ".join(expected), ", ".join(found))


def _check_sample(check: ShardCheck, view: FileView, sample: Sample) -> Iterator[Problem]:
    images = [member for extension, member in sample.members if is_image_extension(extension)]
    if not images:
        yield Problem("member_missing", check.file, sample.key, expected="an image")
    if check.strict:
        yield from _check_contract(check.file, sample, images)
    seen: set[str] = set()
    for extension, member in sample.members:
        if extension in seen:
            yield Problem("member_duplicate", check.file, member.name)
        seen.add(extension)
        try:
            problem = _check_member(check, view, _kind_of(extension), member)
        except (OSError, ImportError, MemoryError):
            raise
        except Exception as error:  # what nobody foresaw
            problem = "internal_error", "", f"{type(error).__name__}: {error}"
        if problem is not None:
            code, expected, found = problem
            yield Problem(code, check.file, member.name, expected, found)


def _check_contract(file: str, sample: Sample, images: list[Member]) -> Iterator[Problem]:
    """Compare the names in a sample with those that shardforge writes."""
    for image in images[1:]:
        yield Problem("member_extra", file, image.name, expected="one image")
    for extension, member in sample.members:
        if not member.name.endswith(f".{extension}"):
            yield Problem("member_suffix", file, member.name, expected=f".{extension}")
        elif is_image_extension(extension) and extension not in FORMATS:
            yield Problem("member_suffix", file, member.name, expected=", ".join(f".{name}" for name in FORMATS))


def _kind_of(extension: str) -> str:
    """Return what decides how a member is read: "image", or the last part of its extension."""
    return "image" if is_image_extension(extension) else extension.rpartition(".")[2]


#: What is read of a sample, and the most bytes that it may have.
_MOST_BYTES = {"image": MOST_IMAGE, LABEL: MOST_LABEL, "json": MOST_TEXT, "txt": MOST_TEXT}


def _check_member(check: ShardCheck, view: FileView, kind: str, member: Member) -> tuple[str, str, str] | None:
    """Return (code, expected, found) for what is wrong with a member, or None."""
    most = _MOST_BYTES.get(kind)
    if most is None:
        return None
    if member.size > most:
        return "member_costly", f"at most {most:,} bytes", f"{member.size:,}"
    data = view[member.data_offset : member.data_offset + member.size]
    if kind == "image":
        try:
            check_image(data, _codec())
        except ImageError as error:
            return "image_undecodable", "", str(error)
    elif kind == LABEL:
        if not _is_label(data, check):
            wanted = "a number of digits alone" if check.strict else "a number from 0 on"
            wanted = wanted if check.classes is None else f"0 to {check.classes - 1}"
            return "label_range", wanted, repr(data[:40])[2:-1]
    elif kind == "json":
        try:
            if not isinstance(json.loads(data), dict):
                return "text_invalid", "a JSON object", "another JSON value"
        except (ValueError, RecursionError) as error:
            return "text_invalid", "a JSON object", str(error)
    elif kind == "txt":
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            return "text_invalid", "UTF-8 text", str(error)
    return None


def _is_label(data: bytes, check: ShardCheck) -> bool:
    """Tell whether a .cls member holds a class number: as we write it, or as readers take it."""
    label = parse_label(data) if data.isdigit() or not check.strict else None
    return label is not None and label >= 0 and (check.classes is None or label < check.classes)


@lru_cache(maxsize=1)
def _codec() -> str:
    return choose_codec("auto")
