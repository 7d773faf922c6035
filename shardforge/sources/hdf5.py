"""Lists the datasets of an HDF5 file that hold the bytes of an image each, and where these lie in the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from shardforge import reasons
from shardforge.errors import DatasetError, UsageError
from shardforge.paths import path_to_text

#: Name in the file, offset, bytes, reason.
_Member = tuple[str, int | None, int | None, str | None]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Groups in groups: what lies deeper is no folder of images.
_MOST_LEVELS = 100


class Hdf5Error(DatasetError):
    """An HDF5 file is damaged."""


def read_hdf5(file: bytes) -> Iterator[_Member]:
    """Yield the datasets of an HDF5 file in the order of their names.

    Contiguous datasets lie in the file as they are; chunked and compressed ones do not. Links, datasets whose bytes lie
    in other files and views of such are not followed.

    Raises:
        UsageError: the package h5py is missing.
        Hdf5Error: the file is damaged, or no HDF5 file; datasets before that were yielded.
        OSError: it cannot be opened.
    """
    try:
        import h5py
    except ImportError as error:
        raise UsageError(
            f"{os.fsdecode(file)}: HDF5 files need the package h5py; install it by pip install 'shardforge[hdf5]'"
        ) from error
    with open(file, "rb") as plain:
        size = os.fstat(plain.fileno()).st_size
        signed = plain.read(len(_SIGNATURE)) == _SIGNATURE
    try:
        with h5py.File(os.fsdecode(file), "r") as opened:
            yield from _read_groups(opened.id, size, h5py)
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        if isinstance(error, OSError) and not signed:
            raise Hdf5Error("is no HDF5 file; restore it, or leave it out") from error
        raise Hdf5Error(f"the HDF5 file is damaged ({error}); restore it") from error


def _read_groups(root: Any, end: int, h5py: Any) -> Iterator[_Member]:
    """Yield what is below a group through the functions of HDF5 itself: h5py's objects take four times as long.

    A group that was met before, by another of its names, is a link: so a circle has an end.
    """
    seen = {h5py.h5g.get_objinfo(root).objno}
    groups = [(root, "", iter(root))]
    while groups:
        group, prefix, names = groups[-1]
        name = next(names, None)
        if name is None:
            groups.pop()
            continue
        path = prefix + path_to_text(name)
        if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            yield path, None, 0, reasons.LINK
            continue
        item = h5py.h5o.open(group, name)
        if isinstance(item, h5py.h5d.DatasetID):
            yield path, *_locate(item, end, h5py)
        elif isinstance(item, h5py.h5g.GroupID):
            number = h5py.h5g.get_objinfo(item).objno
            if number in seen:
                yield path, None, 0, reasons.LINK
            elif len(groups) == _MOST_LEVELS:
                yield path, None, 0, reasons.TOO_COSTLY
            else:
                seen.add(number)
                groups.append((item, f"{path}/", iter(item)))


def _locate(item: Any, end: int, h5py: Any) -> tuple[int | None, int | None, str | None]:
    """Return offset, bytes and reason of a dataset."""
    offset = item.get_offset()
    if offset is not None:
        size = item.get_storage_size()
        return (offset, size, None) if offset + size <= end else (None, 0, reasons.CORRUPT)
    properties = item.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
        return None, 0, reasons.LINK
    size = item.get_storage_size()
    return None, size, reasons.COMPRESSED if size else reasons.EMPTY_FILE
