"""Kind `wds`: the images in existing WebDataset tars, read in place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableSequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from shardforge import reasons
from shardforge.braces import expand_braces
from shardforge.errors import ImageError, UsageError
from shardforge.files import FileView
from shardforge.paths import path_from_text, path_to_text
from shardforge.sources.base import SourceSpec, locate_folder
from shardforge.sources.columns import describe
from shardforge.sources.listing import IMAGE_SUFFIXES, batched, make_batch, stat_file
from shardforge.sources.reading import MEMBER_MARK
from shardforge.sources.walk import walk
from shardforge.sources.wds_sample import SampleReader, sample_key
from shardforge.tarfiles import Member, TarError, TruncatedTarError, iter_members

#: path, offset, bytes, mtime, reason, and what the sample says about the image.
Row = tuple[str, int | None, int | None, int | None, str | None, dict[str, Any]]


class WebDatasetSource:
    """The images in a tar, in all tars below a folder, or in those that a braced path names.

    An image's path is `TAR::MEMBER`. What a tar holds after damage is one row with the tar's own path and a reason.
    """

    options: ClassVar[Mapping[str, str]] = {
        "classes": "a file of class names, one a line, named from the root (default: classes.txt by or above a tar)",
    }

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self._folder = os.fsencode(spec.root) + b"/"
        classes = spec.options.get("classes")
        self._samples = SampleReader(spec.root / classes if classes else None)

    @staticmethod
    def locate(location: Path, options: Mapping[str, str]) -> tuple[Path, Path | None]:
        """Return the folder that tars are named from, and the tar or braced pattern."""
        tars = [Path(name) for name in expand_braces(str(location))]
        if tars == [location] and location.suffix != ".tar":
            return locate_folder(location, options)
        for tar in tars:
            if tar.suffix != ".tar" or not tar.is_file():
                problem = "is no tar" if tar.exists() else "does not exist"
                raise UsageError(
                    f"{tar} {problem}; name a folder of tars, a tar, or a pattern such as shard-{{000..031}}.tar"
                )
        return Path(os.path.commonpath([tar.parent for tar in tars])), location

    def list(self) -> Iterator[pa.Table]:
        """Yield a record per image, tar by tar."""
        for rows in batched(self._list_images()):
            paths, offsets, sizes, times, why, said = zip(*rows, strict=True)
            names = dict.fromkeys(name for values in said for name in values)
            columns = describe({name: [values.get(name) for values in said] for name in names}, len(paths))
            columns_of_tar = {"offset": offsets, "bytes": sizes, "mtime": times, "reason": why}
            yield make_batch(self.spec, paths, {**columns, **columns_of_tar})

    def _list_images(self) -> Iterator[Row]:
        if self.spec.file is not None:
            for name in expand_braces(str(self.spec.file)):
                yield from self._list_tar(path_to_text(os.path.relpath(name, self.spec.root)))
            return
        for directory in walk(os.fsencode(self.spec.root)):
            folder = path_to_text(directory.path)
            if not directory.readable:
                yield folder, None, None, None, reasons.UNREADABLE_DIRECTORY, {}
            for tar in directory.names:
                if tar.endswith(b".tar"):
                    yield from self._list_tar(os.path.join(folder, path_to_text(tar)))

    def _list_tar(self, tar: str) -> Iterator[Row]:
        """Yield the images of one tar, then a row for the tar itself when some of it cannot be read."""
        size, mtime, why = stat_file(self._folder, tar)
        if why or not size:
            yield tar, None, size, mtime, why, {}
            return
        file = self.spec.root / os.fsdecode(path_from_text(tar))
        problems: list[str] = []
        try:
            with open(file, "rb") as opened:
                for image, why, said in self._read_images(file, FileView(opened.fileno()), problems):
                    yield f"{tar}{MEMBER_MARK}{image.name}", image.data_offset, image.size, mtime, why, said
        except OSError:
            problems.append(reasons.UNREADABLE)
        for reason in problems:
            yield tar, None, size, mtime, reason, {}

    def _read_images(
        self, file: Path, view: FileView, problems: MutableSequence[str]
    ) -> Iterator[tuple[Member, str | None, dict[str, Any]]]:
        """Yield each image, a reason, and what its sample says; append to `problems` what ended the tar early."""
        for _, sample in groupby(_read_until_damage(view, problems), lambda member: sample_key(member.name)):
            members = list(sample)
            images = [member for member in members if member.name.lower().endswith(IMAGE_SUFFIXES)]
            why: str | None = None
            try:
                said = self._samples.read(file, view, members) if images else {}
            except ImageError as error:
                why, said = error.reason, {}
            for image in images:
                yield image, why, said


def _read_until_damage(view: FileView, problems: MutableSequence[str]) -> Iterator[Member]:
    """Yield members up to the first damage, whose reason is appended to `problems`."""
    try:
        yield from iter_members(view)
    except TruncatedTarError:
        problems.append(reasons.TRUNCATED)
    except TarError:
        problems.append(reasons.CORRUPT)
