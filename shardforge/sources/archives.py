"""All files below a folder, and those inside archives: tars, zips and HDF5 files are listed and read in place."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from shardforge import reasons
from shardforge.errors import UsageError
from shardforge.paths import path_from_text, path_to_text
from shardforge.sources.base import SourceSpec
from shardforge.sources.listing import Found, stat_file
from shardforge.sources.reading import MEMBER_MARK
from shardforge.sources.walk import walk
from shardforge.tarfiles import TarError, TruncatedTarError, iter_members
from shardforge.zipfiles import ZipError, iter_entries

_PACKED_AS_A_WHOLE = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar")


#: Name in the archive, offset, bytes, reason.
_Member = tuple[str, int | None, int, str | None]


def locate_tree(location: Path, options: Mapping[str, str]) -> tuple[Path, Path | None]:
    """Return the root of a source that is a folder, or an archive: its folder, and itself."""
    if location.is_file() and location.suffix in _READERS:
        return location.parent, location
    if not location.is_dir():
        problem = "is no folder and no .tar, .zip or .hdf5" if location.exists() else "does not exist"
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
            if name.endswith(_ARCHIVES):
                yield from _find_members(root, prefix + name)
            else:
                yield Found(prefix + name)


def _find_members(root: bytes, archive: str) -> Iterator[Found]:
    """Yield the members of one archive, then a row for itself when some of it cannot be read."""
    size, mtime, why = stat_file(root.rstrip(b"/") + b"/", archive)
    if why or not size:
        yield Found(archive, None, size, mtime, why or reasons.EMPTY_FILE)
        return
    if archive.endswith(_PACKED_AS_A_WHOLE):
        yield Found(archive, None, size, mtime, reasons.COMPRESSED)
        return
    read = _READERS[os.path.splitext(archive)[1]]
    problem: str | None = None
    try:
        for name, offset, length, reason in read(os.path.join(root, path_from_text(archive))):
            yield Found(f"{archive}{MEMBER_MARK}{name}", offset, length, mtime, reason)
    except TruncatedTarError:
        problem = reasons.TRUNCATED
    except (TarError, ZipError):
        problem = reasons.CORRUPT
    except OSError:
        problem = reasons.UNREADABLE
    if problem:
        yield Found(archive, None, size, mtime, problem)


def _read_tar(file: bytes) -> Iterator[_Member]:
    with _map_file(file) as view:
        for member in iter_members(view):
            yield member.name, member.data_offset, member.size, None


def _read_zip(file: bytes) -> Iterator[_Member]:
    with _map_file(file) as view:
        for entry in iter_entries(view):
            yield entry.name, entry.offset, entry.size, None if entry.readable else reasons.COMPRESSED


def _read_hdf5(file: bytes) -> Iterator[_Member]:
    """Yield the datasets of an HDF5 file that hold the bytes of an image each, in the order of their names.

    Contiguous datasets lie in the file as they are; chunked and compressed ones do not.
    """
    try:
        import h5py
    except ImportError as error:
        raise UsageError(
            f"{os.fsdecode(file)}: HDF5 files need the package h5py; install it by pip install 'shardforge[hdf5]'"
        ) from error
    with h5py.File(os.fsdecode(file), "r") as opened:
        yield from _read_group(opened.id, "", h5py.h5o.open)


def _read_group(group: Any, prefix: str, open_object: Callable[[Any, bytes], Any]) -> Iterator[_Member]:
    """Yield the datasets of a group through the functions of HDF5 itself: h5py's objects take four times as long."""
    for name in group:
        item = open_object(group, name)
        path = f"{prefix}{path_to_text(name)}"
        if hasattr(item, "get_offset"):
            offset = item.get_offset()
            yield path, offset, item.get_storage_size(), reasons.COMPRESSED if offset is None else None
        else:
            yield from _read_group(item, f"{path}/", open_object)


def _map_file(file: bytes) -> closing[mmap.mmap]:
    with open(file, "rb") as opened:
        return closing(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))


_READERS: dict[str, Callable[[bytes], Iterator[_Member]]] = {
    ".tar": _read_tar,
    ".zip": _read_zip,
    ".hdf5": _read_hdf5,
    ".h5": _read_hdf5,
}
_ARCHIVES = (*_READERS, *_PACKED_AS_A_WHOLE)
