"""Names of files, on this machine or behind a URL of any kind that fsspec opens: joined, listed and read."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shardforge.errors import UsageError


def normalise_place(name: str | os.PathLike[str]) -> str:
    """Return a path or URL as text, `file://` as the path that it stands for."""
    text = os.fspath(name)
    return text.removeprefix("file://") if text.startswith("file:///") else text


def is_remote(name: str) -> bool:
    """Tell whether a name is a URL."""
    return "://" in name


def folder_of(name: str) -> str:
    """Return the folder that holds a file."""
    return name.rpartition("/")[0] if is_remote(name) else os.path.dirname(name)


def join_place(folder: str, name: str) -> str:
    """Return where `name` is as seen from `folder`; a URL or an absolute path stands for itself."""
    if is_remote(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder, name))


def read_place(name: str) -> bytes:
    """Return the bytes of a file.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    if is_remote(name):
        with _open_remote(name) as (files, path):
            content: bytes = files.cat_file(path)
            return content
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror}); name an existing file") from error


def exists(name: str) -> bool:
    """Tell whether a file or folder is there."""
    if is_remote(name):
        with _open_remote(name) as (files, path):
            return bool(files.exists(path))
    return os.path.exists(name)


def list_places(pattern: str) -> list[str]:
    """Return the files that a pattern with * finds, sorted."""
    if is_remote(pattern):
        with _open_remote(pattern) as (files, path):
            return sorted(str(files.unstrip_protocol(found)) for found in files.glob(path))
    return sorted(glob.glob(pattern))


def list_tars(folder: str) -> list[str]:
    """Return the tars in a folder, sorted; characters of its name that are patterns elsewhere stand for themselves."""
    return list_places(join_place(glob.escape(folder), "*.tar"))


@contextmanager
def _open_remote(url: str) -> Iterator[tuple[Any, str]]:
    """Yield the file system of a URL and the path in it."""
    try:
        import fsspec  # only where there is a URL
    except ImportError as error:
        raise UsageError(f"{url}: reading URLs needs fsspec; install it, with the package for this protocol") from error
    try:
        yield fsspec.core.url_to_fs(url)
    except Exception as error:  # each protocol raises errors of its own
        what = str(error) or type(error).__name__
        raise UsageError(
            f"{url}: cannot be read ({what}); check the address, the network and the credentials"
        ) from error
