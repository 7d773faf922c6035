"""All files below a folder, and those inside archives: tars, zips and HDF5 files are listed and read in place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from shardforge import reasons
from shardforge.errors import DatasetError, UsageError
from shardforge.files import FileView
from shardforge.paths import path_from_text, path_to_text
from shardforge.samples import IMAGE_SUFFIXES
from shardforge.sources.base import SourceSpec
from shardforge.sources.hdf5 import read_hdf5
from shardforge.sources.listing import Found, stat_file
from shardforge.sources.reading import MEMBER_MARK
from shardforge.sources.walk import walk
from shardforge.tarfiles import CompressedTarError, TruncatedTarError, find_compression, iter_members
from shardforge.zipfiles import iter_entries

_AHEAD = 1 << 18
#: Packed as a whole, in forms that no tar is found in either.
_OTHER_SUFFIXES = (".7z", ".rar")

#: A member's name in the archive, offset, bytes, and why it cannot be read.
_Member = tuple[str, int | None, int | None, str | None]


def locate_tree(location: Path, options: Mapping[str, str]) -> tuple[Path, Path | None]:
    """Return the root of a source that is a folder, or an archive: its folder, and itself."""
    if location.is_file() and location.suffix in _READERS:
        return location.parent, location
    if not location.is_dir():
        problem = "is no folder and no .tar, .zip or .hdf5" if location.exists() else "does not exist"
        if location.exists():
            problem = find_compression(location.name) or problem
        raise UsageError(f"{location} {problem}; name the folder or the archive that holds the images")
    return location, None


def find_files(spec: SourceSpec) -> Iterator[Found]:
    """Yield every file below the root in the order of the walk, the images of an archive as `ARCHIVE::MEMBER`.

    An archive that is damaged, or packed so that its members cannot be read in place, has a row of its own with a
    reason, and so has a directory that cannot be listed.
    """
    root = os.fsencode(spec.root)
    if spec.file is not None:
        yield from _find_members(root, path_to_text(spec.file.name))
        return
    for directory in walk(root):
        folder = path_to_text(directory.path)
        if not directory.readable:
            yield Found(folder, reason=reasons.UNREADABLE_DIRECTORY)
        prefix = f"{folder}/" if folder else ""
        for raw in directory.names:
            name = path_to_text(raw)
            if name.endswith(_ARCHIVES) or find_compression(name):
                yield from _find_members(root, prefix + name)
            else:
                yield Found(prefix + name)


def _find_members(root: bytes, archive: str) -> Iterator[Found]:
    """Yield the members of one archive, then a row for itself when some of it cannot be read."""
    size, mtime, why = stat_file(root.rstrip(b"/") + b"/", archive)
    if why or not size:
        yield Found(archive, None, size, mtime, why or reasons.EMPTY_FILE)
        return
    try:
        for name, offset, length, reason in _open(os.path.join(root, path_from_text(archive)), archive):
            yield Found(f"{archive}{MEMBER_MARK}{name}", offset, length, mtime, reason)
    except (DatasetError, OSError) as error:
        reason = next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), reasons.CORRUPT)
        yield Found(archive, None, size, mtime, reason, str(error))


def _open(file: bytes, archive: str) -> Iterator[_Member]:
    """Return the members of an archive, which its suffix tells how to read."""
    if compressed := find_compression(archive):
        raise CompressedTarError(compressed)
    if archive.endswith(_OTHER_SUFFIXES):
        raise CompressedTarError("is packed as a whole, so its members cannot be read in place; unpack it")
    return _READERS[os.path.splitext(archive)[1]](file)


def _read_tar(file: bytes) -> Iterator[_Member]:
    """Yield the files of a tar, and of what else is in it that whose name is that of an image."""
    with open(file, "rb") as opened:
        for member in iter_members(FileView(opened.fileno()), odd=True):
            if not member.reason or member.name.lower().endswith(IMAGE_SUFFIXES):
                yield member.name, member.data_offset, member.size, member.reason


def _read_zip(file: bytes) -> Iterator[_Member]:
    with open(file, "rb") as opened:
        yield from iter_entries(FileView(opened.fileno(), ahead=_AHEAD))


_READERS: dict[str, Callable[[bytes], Iterator[_Member]]] = {
    ".tar": _read_tar,
    ".zip": _read_zip,
    ".hdf5": read_hdf5,
    ".h5": read_hdf5,
}
_ARCHIVES = (*_READERS, *_OTHER_SUFFIXES)
_REASONS = {CompressedTarError: reasons.COMPRESSED, TruncatedTarError: reasons.TRUNCATED, OSError: reasons.UNREADABLE}
