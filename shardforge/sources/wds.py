"""Kind `wds`: the images in existing WebDataset tars, read in place."""

from __future__ import annotations

import os
from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping, MutableSequence, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from shardforge import reasons
from shardforge.braces import expand_braces
from shardforge.errors import ImageError, UsageError
from shardforge.files import FileView
from shardforge.paths import path_from_text, path_to_text
from shardforge.samples import IMAGE_SUFFIXES, Sample, SampleNotes, is_image_extension, iter_samples
from shardforge.sources.base import SourceSpec, locate_folder
from shardforge.sources.columns import describe
from shardforge.sources.listing import BATCH_ROWS, make_batch, stat_file
from shardforge.sources.reading import MEMBER_MARK
from shardforge.sources.walk import walk
from shardforge.sources.wds_sample import SampleReader
from shardforge.tarfiles import (
    CompressedTarError,
    Member,
    TarError,
    TruncatedTarError,
    find_compression,
    iter_members,
)

#: What the rows of a table may hold together: bytes of texts, and values under names of their own.
_MOST_BYTES = 32 << 20
_MOST_VALUES = 1 << 23

_REASONS: dict[type[Exception], str] = {
    CompressedTarError: reasons.COMPRESSED,
    TruncatedTarError: reasons.TRUNCATED,
    TarError: reasons.CORRUPT,
}


class _Row(NamedTuple):
    """An image in a tar, or a tar that cannot be read to its end, and what the sample says."""

    path: str
    offset: int | None
    bytes: int | None
    mtime: int | None
    reason: str | None
    note: str | None
    said: dict[str, Any]
    text_bytes: int = 0


class WebDatasetSource:
    """The images in a tar, in all tars below a folder, or in those that a braced path names.

    An image's path is `TAR::MEMBER`. What a tar holds after damage is one row with the tar's own path and a reason.

    Attributes:
        notes: what is odd about the samples that were listed.
    """

    options: ClassVar[Mapping[str, str]] = {
        "classes": "a file of class names, one a line, named from the root (default: classes.txt by or above a tar)",
    }

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self.notes = SampleNotes()
        self._folder = os.fsencode(spec.root) + b"/"
        classes = spec.options.get("classes")
        self._samples = SampleReader(spec.root / classes if classes else None)

    @staticmethod
    def locate(location: Path, options: Mapping[str, str]) -> tuple[Path, Path | None]:
        """Return the folder that tars are named from, and the tar or braced pattern."""
        tars = [Path(name) for name in expand_braces(str(location))]
        if tars == [location] and location.suffix != ".tar" and not location.is_file():
            return locate_folder(location, options)
        for tar in tars:
            if tar.suffix != ".tar" or not tar.is_file():
                problem = (find_compression(tar.name) or "is no tar") if tar.exists() else "does not exist"
                raise UsageError(
                    f"{tar} {problem}; name a folder of tars, a tar, or a pattern such as shard-{{000..031}}.tar"
                )
        return Path(os.path.commonpath([tar.parent for tar in tars])), location

    def list(self) -> Iterator[pa.Table]:
        """Yield a record per image, tar by tar."""
        self.notes = SampleNotes()
        for rows in _batch(self._list_images()):
            paths, offsets, sizes, times, why, notes, said, _ = zip(*rows, strict=True)
            names = dict.fromkeys(name for values in said for name in values)
            columns = describe({name: [values.get(name) for values in said] for name in names}, len(paths))
            self._count_labels(rows, columns.get("label", [None] * len(rows)))
            listed = {"offset": offsets, "bytes": sizes, "mtime": times, "reason": why, "note": notes}
            yield make_batch(self.spec, paths, {**columns, **listed})

    def _count_labels(self, rows: Sequence[_Row], labels: Sequence[str | None]) -> None:
        usable = [(row.path, label) for row, label in zip(rows, labels, strict=True) if row.reason is None]
        self.notes.images = (self.notes.images or 0) + len(usable)
        for path, label in usable:
            if label is None:
                self.notes.add("no_label", path)

    def _list_images(self) -> Iterator[_Row]:
        if self.spec.file is not None:
            for name in expand_braces(str(self.spec.file)):
                yield from self._list_tar(path_to_text(os.path.relpath(name, self.spec.root)))
            return
        for directory in walk(os.fsencode(self.spec.root)):
            folder = path_to_text(directory.path)
            if not directory.readable:
                yield _Row(folder, None, None, None, reasons.UNREADABLE_DIRECTORY, None, {})
            for raw in directory.names:
                name = path_to_text(raw)
                if name.endswith(".tar") or find_compression(name):
                    yield from self._list_tar(os.path.join(folder, name))

    def _list_tar(self, tar: str) -> Iterator[_Row]:
        """Yield the images of one tar, then a row for the tar itself when some of it cannot be read."""
        size, mtime, reason = stat_file(self._folder, tar)
        if reason or not size or mtime is None:
            yield _Row(tar, None, size, mtime, reason, None, {})
            return
        problem: Exception | None = None
        try:
            if compression := find_compression(tar):
                raise CompressedTarError(compression)
            file = self.spec.root / os.fsdecode(path_from_text(tar))
            with open(file, "rb") as opened:
                problem = yield from self._read_tar(tar, mtime, file, FileView(opened.fileno()))
        except (OSError, CompressedTarError) as error:
            problem = error
        if isinstance(problem, CompressedTarError):
            self.notes.add("compressed", f"{tar} {problem}")
        if problem:
            note = problem.strerror if isinstance(problem, OSError) else str(problem)
            yield _Row(tar, None, size, mtime, _REASONS.get(type(problem), reasons.UNREADABLE), note, {})

    def _read_tar(self, tar: str, mtime: int, file: Path, view: FileView) -> Generator[_Row, None, TarError | None]:
        """Yield the rows of a tar's images; return what ended it early."""
        hashes = array("q")
        damage: list[TarError] = []
        for sample in iter_samples(_read_until_damage(view, damage), strays=True):
            if sample.key:
                hashes.append(hash(sample.key))
                yield from self._read_sample(tar, mtime, file, view, sample)
                continue
            [(_, stray)] = sample.members
            if stray.reason and stray.name.lower().endswith(IMAGE_SUFFIXES):
                yield _locate(tar, mtime, stray, stray.reason, None, {})
            else:
                self.notes.add_stray(tar, stray)
        self.notes.add_scattered(tar, np.array(hashes, np.int64), lambda number: _find_key(view, number))
        return damage[0] if damage else None

    def _read_sample(self, tar: str, mtime: int, file: Path, view: FileView, sample: Sample) -> Iterator[_Row]:
        """Yield the images of a sample, each with what the sample says, or with why that cannot be read."""
        self.notes.add_sample(tar, sample)
        images = [member for extension, member in sample.members if is_image_extension(extension)]
        reason = note = None
        said: dict[str, Any] = {}
        if images:
            try:
                said = self._samples.read(file, view, sample)
            except ImageError as error:
                reason, note = error.reason, str(error)
                self.notes.add("unread", f"{tar}: {note}")
        text_bytes = sum(member.size for _, member in sample.members) - sum(image.size for image in images)
        for image in images:
            yield _locate(tar, mtime, image, reason, note, said, text_bytes if said else 0)


def _locate(tar: str, mtime: int, image: Member, *more: Any) -> _Row:
    return _Row(f"{tar}{MEMBER_MARK}{image.name}", image.data_offset, image.size, mtime, *more)


def _read_until_damage(view: FileView, damage: MutableSequence[TarError]) -> Iterator[Member]:
    """Yield members up to the first damage, which is appended to `damage`."""
    try:
        yield from iter_members(view, odd=True)
    except TarError as error:
        damage.append(error)


def _find_key(view: FileView, number: int) -> str:
    """Return the key of the sample with this number: it is asked for seldom, and all keys would take much memory."""
    return next(islice(iter_samples(_read_until_damage(view, [])), number, None)).key


def _batch(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Yield the rows of a table each: as many as its texts, and a column for each name in them, leave room for."""
    batch: list[_Row] = []
    names: set[str] = set()
    text_bytes = 0
    for row in rows:
        batch.append(row)
        names.update(row.said)
        text_bytes += row.text_bytes
        if len(batch) == BATCH_ROWS or text_bytes > _MOST_BYTES or len(batch) * len(names) > _MOST_VALUES:
            yield batch
            batch, names, text_bytes = [], set(), 0
    if batch:
        yield batch
