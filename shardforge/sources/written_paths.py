r"""Paths as people and programs write them: spelled in several ways, or with the backslashes of Windows.

A path is read as it is written where a file of that name is there. Else `img\0.jpg` is read as `img/0.jpg`, and
`x/../a.jpg` as `a.jpg` where that is there. Nothing is guessed of `C:\photos\0.jpg`, which names a disk.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shardforge import reasons
from shardforge.paths import path_from_text, path_to_text
from shardforge.sources.base import SourceSpec
from shardforge.sources.listing import FileStatus, make_array, make_batch, relative_path, stat_files
from shardforge.sources.reading import MEMBER_MARK, split_member

_WINDOWS_DISK = re.compile(rb"[A-Za-z]:[\\/]|\\\\")
#: What another spelling of a path may have that the plain one lacks.
_ODD = rf"(^|/|{MEMBER_MARK})\.{{1,2}}(/|$)|//"
_PARENT = re.compile(rb"(^|/)\.\.(/|$)")


def make_named_batch(spec: SourceSpec, names: Sequence[bytes | str], columns: Mapping[str, Any]) -> pa.Table:
    """Return records of files that a table or a list names: their paths from the root, sizes and times.

    A value in the column `reason` says why a file cannot be used that is there.
    """
    root = os.fsencode(spec.root)
    paths = [relative_path(root, name) for name in names]
    found = stat_files(root, paths)
    _read_anew(root, paths, found, _read_backslashes)
    _read_anew(root, paths, found, _leave_out_parents)
    sizes, times, why = zip(*found, strict=True) if found else ((), (), ())
    given = make_array(columns.get("reason", [None] * len(paths)), pa.string())
    reason = pc.coalesce(pa.array(why, pa.string()), given)
    return make_batch(spec, paths, {**columns, "bytes": sizes, "mtime": times, "reason": reason})


def make_nameless_batch(spec: SourceSpec, file: Path, entries: Sequence[str]) -> pa.Table:
    """Return records of what a file lists without a path, such as its "row 7": each has a row, and none can be used."""
    paths = [f"{path_to_text(file.name)}{MEMBER_MARK}{entry}" for entry in entries]
    notes = [f"{entry} of {file.name} names no image" for entry in entries]
    return make_batch(spec, paths, {"reason": [reasons.MISNAMED] * len(paths), "note": notes})


def names_disk(path: bytes) -> bool:
    r"""Whether a path names a disk or a server as Windows does: `C:\photos`, `\\server\photos`."""
    return bool(_WINDOWS_DISK.match(path))


def read_slashes(path: bytes) -> bytes:
    """Return a path with the backslashes of Windows as slashes; one that names a disk stays as it is."""
    return path if names_disk(path) else path.replace(b"\\", b"/")


def plain_path(path: str) -> str:
    """Return the plain spelling of a record's path, whose parts are neither empty nor `.` nor, behind others, `..`."""
    archive, member = split_member(path)
    return f"{_plain(archive)}{MEMBER_MARK}{_plain(member)}" if member else _plain(archive)


def are_odd(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return whether the plain spelling of each path may be another one."""
    return pc.match_substring_regex(paths, _ODD)


def _plain(path: str) -> str:
    return re.sub("^//+", "/", posixpath.normpath(path))


def _read_anew(
    root: bytes, paths: list[str], found: list[FileStatus], mend: Callable[[bytes, str], str | None]
) -> None:
    """Give paths at which nothing is the spelling that `mend` returns, and their status there."""
    mended = {i: mend(root, paths[i]) for i, (_, _, why) in enumerate(found) if why == reasons.VANISHED}
    others = {i: path for i, path in mended.items() if path is not None}
    for (i, path), status in zip(others.items(), stat_files(root, list(others.values())), strict=True):
        paths[i], found[i] = path, status


def _read_backslashes(root: bytes, path: str) -> str | None:
    raw = path_from_text(path)
    slashed = read_slashes(raw)
    return relative_path(root, slashed) if slashed != raw else None


def _leave_out_parents(root: bytes, path: str) -> str | None:
    if not _PARENT.search(path_from_text(path)):
        return None
    plain = plain_path(path)
    return plain if plain != path and os.path.lexists(os.path.join(root, path_from_text(plain))) else None
