"""What a file names lies in the folder of that file, or nothing is done to it.

Manifests, plans, receipts, indexes and states may come from anybody, so whatever path was read from one is held to:

- **To write, move and delete**: the folder that holds the place is resolved, links too, and must be the file's own
  folder or one below it. It is then opened part by part without following links, so that none can be put there
  meanwhile. The last part of the path is not followed: a link is replaced, moved or removed, and what it leads to
  stays.
- **To read**: the name as it is written must lead downwards. Links are followed, since the caches of hubs and the
  folders of data managers are made of them. Whoever trusts a file may read what else it names.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from shardforge.errors import DatasetError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
#: What the kernel says of a link where a folder was a moment ago.
_LINKS = (errno.ELOOP, errno.ENOTDIR)
#: What it says of names that no file can have.
_IMPOSSIBLE = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
#: Letters of a name in a message.
_SHOWN = 200


@contextmanager
def open_folder(root: Path, folder: Path, *, make: bool = False) -> Iterator[int]:
    """Yield a descriptor of `folder`, which with all links resolved is `root` or lies below it.

    Raises:
        DatasetError: it lies elsewhere, or is called as nothing can be.
        OSError: it is not there (unless it is to be made), or cannot be opened.
    """
    parts = _resolve(root, folder)
    handle = os.open(root, _FOLDER)
    try:
        for part in parts:
            if make:
                _make(part, handle)
            inner = _enter(root, folder, part, handle)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


@contextmanager
def open_parent(root: Path, name: str | Path, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """Yield a descriptor of the folder that holds `root/name`, and the last part of the name.

    Raises:
        DatasetError: the folder is not inside `root`, or the name is none of a file.
        OSError: as for `open_folder`.
    """
    leaf = os.path.basename(os.fspath(name))
    if leaf in ("", ".", "..") or "\0" in leaf:
        raise _refusal(root, name)
    with open_folder(root, (root / name).parent, make=make) as folder:
        yield folder, leaf


def is_inside(root: Path, folder: Path) -> bool:
    """Tell whether a folder, with all links resolved, is `root` or lies below it."""
    try:
        _resolve(root, folder)
    except DatasetError:
        return False
    return True


def require_inside(root: Path, folder: Path) -> None:
    """Refuse a folder that links lead out of `root`; one that is not there yet is none.

    Raises:
        DatasetError: it lies elsewhere.
    """
    _resolve(root, folder)


def remove_inside(root: Path, name: str | Path) -> bool:
    """Remove the file or link `root/name`; return whether there was one. A folder stays.

    Raises:
        DatasetError: its folder is not inside `root`, or the name is none of a file.
    """
    try:
        with open_parent(root, name) as (folder, leaf):
            if stat.S_ISDIR(os.stat(leaf, dir_fd=folder, follow_symlinks=False).st_mode):
                return False
            os.unlink(leaf, dir_fd=folder)
            return True
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, *_IMPOSSIBLE):
            raise
        return False


def move_inside(root: Path, name: str | Path, target: str | Path) -> None:
    """Move the file or link `root/name` to `root/target`, whose folder is made.

    Raises:
        DatasetError: one of their folders is not inside `root`, or a name is none of a file.
        OSError: there is no such file, or it cannot be moved.
    """
    with open_parent(root, name) as (source, leaf), open_parent(root, target, make=True) as (folder, new):
        os.replace(leaf, new, src_dir_fd=source, dst_dir_fd=folder)


def fold_name(path: str | Path) -> str:
    """Return what names that differ in case or Unicode form only have in common; to some file systems they are one."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", os.fspath(path)).casefold())


def are_one_file(one: Path, other: Path) -> bool:
    """Tell whether two names that differ in case or Unicode form only are those of one file here."""
    try:
        return fold_name(one) == fold_name(other) and os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def leads_out(name: str, folder: str) -> bool:
    """Tell whether `name`, as a file in `folder` has it, may be of a place that is not below that folder.

    Either may be a URL: one of the same server and below that of the folder leads nowhere else.
    """
    if "://" not in folder:
        return "://" in name or _climbs(name)
    if "::" in name:  # fsspec reads through chains of file systems
        return True
    if "://" not in name:
        return _climbs(unquote(name))
    base, url = urlsplit(folder), urlsplit(name)
    below = posixpath.normpath(unquote(base.path) or "/").rstrip("/") + "/"
    within = posixpath.normpath(unquote(url.path)).startswith(below)
    return _origin(base) != _origin(url) or not within or ".." in _parts(unquote(name))


def _climbs(name: str) -> bool:
    """Tell whether a path begins at the root or goes upwards anywhere."""
    parts = _parts(name)
    return not parts[0] or ".." in parts


def _parts(name: str) -> list[str]:
    return name.replace("\\", "/").split("/")


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    try:
        return url.scheme.lower(), url.hostname, url.port
    except ValueError:  # a port that is no number
        return url.scheme.lower(), url.netloc, -1


def _resolve(root: Path, folder: Path) -> tuple[str, ...]:
    """Return the parts of the way from `root` to a folder, both with all links resolved."""
    try:
        ends = os.path.realpath(folder)
        return Path(ends).relative_to(os.path.realpath(root)).parts
    except ValueError as error:  # elsewhere, or with a NUL or half a character in its name
        raise _refusal(root, folder) from error
    except OSError as error:
        if error.errno not in _IMPOSSIBLE:
            raise
        raise _refusal(root, folder) from error


def _make(part: str, handle: int) -> None:
    try:
        os.mkdir(part, dir_fd=handle)
    except FileExistsError:
        return


def _enter(root: Path, folder: Path, part: str, handle: int) -> int:
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
    except OSError as error:
        if error.errno not in _LINKS or not _is_link(part, handle):
            raise
        raise _refusal(root, folder) from error


def _is_link(part: str, handle: int) -> bool:
    return stat.S_ISLNK(os.stat(part, dir_fd=handle, follow_symlinks=False).st_mode)


def _refusal(root: Path, name: str | Path) -> DatasetError:
    shown = os.fspath(name).encode("unicode_escape").decode()
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
    return DatasetError(
        f"{root}: what is read there names {shown}, which does not lie inside of it; nothing is written, moved or "
        "deleted there: see where this folder comes from, and take away the file or link that leads out"
    )
