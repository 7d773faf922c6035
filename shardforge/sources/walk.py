"""A folder's tree, each real directory once and always in the same order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from shardforge.errors import SourceError


class Directory(NamedTuple):
    """One directory: its path relative to the root (b"" for the root) and the names in it that are not directories.

    `readable` is False when it could not be listed.
    """

    path: bytes
    names: list[bytes]
    readable: bool = True


def walk(root: bytes) -> Iterator[Directory]:
    """Yield the root and every directory below it, names sorted bytewise; names with a leading dot are left out.

    Directories behind symbolic links come after all real ones, and a directory that was met before is not met again:
    loops end, and which path a directory is listed under does not depend on the order on disk.

    Raises:
        SourceError: the root itself cannot be listed.
    """
    met: set[tuple[int, int]] = set()
    pending = [b""]
    links: deque[bytes] = deque()
    while pending or links:
        path = pending.pop() if pending else links.popleft()
        try:
            status = os.stat(os.path.join(root, path))
            identity = (status.st_dev, status.st_ino)
            if identity in met:
                continue
            met.add(identity)
            names, directories, linked = _list_directory(root, path)
        except OSError as error:
            if not path:
                raise SourceError(
                    f"{os.fsdecode(root)} cannot be listed: {error.strerror}; allow reading it"
                ) from error
            yield Directory(path, [], readable=False)
            continue
        pending.extend(reversed(directories))
        links.extend(linked)
        yield Directory(path, names)


def _list_directory(root: bytes, path: bytes) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Return the names of what is no directory, the paths of directories, the paths of links to directories."""
    names, directories, linked = [], [], []
    with os.scandir(os.path.join(root, path)) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(b"."):
                continue
            if not _is_directory(entry):
                names.append(name)
            elif entry.is_symlink():
                linked.append(os.path.join(path, name))
            else:
                directories.append(os.path.join(path, name))
    return sorted(names), sorted(directories), sorted(linked)


def _is_directory(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere, or to itself
        return False
