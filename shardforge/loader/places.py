"""Names of files, on this machine or behind a URL of any kind that fsspec opens: joined, listed and read."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from shardforge.errors import UsageError
from shardforge.loader.network import Retries, connect, hide_credentials, is_there, limit_time

Answer = TypeVar("Answer")


def normalise_place(name: str | os.PathLike[str]) -> str:
    """Return a path or URL as text, `file://` as the path that it stands for.

    Raises:
        UsageError: no file can be called that.
    """
    text = os.fspath(name)
    if "\0" in text:
        raise UsageError(f"{hide_credentials(text)!r}: holds a NUL, so no file is called that; mend the name")
    return text.removeprefix("file://") if text.startswith("file:///") else text


def is_remote(name: str) -> bool:
    """Tell whether a name is a URL."""
    return "://" in name


def folder_of(name: str) -> str:
    """Return the folder that holds a file."""
    return name.rpartition("/")[0] if is_remote(name) else os.path.dirname(name)


def join_place(folder: str, name: str) -> str:
    """Return where `name` is as seen from `folder`; a URL or an absolute path stands for itself.

    Raises:
        UsageError: no file can be called that.
    """
    name = normalise_place(name)
    if is_remote(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder, name))


def read_place(name: str) -> bytes:
    """Return the bytes of a file.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    if is_remote(name):
        content: bytes = _ask(name, lambda files, path: files.cat_file(path, **limit_time(files)))
        return content
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror}); name an existing file") from error


def exists(name: str) -> bool:
    """Tell whether a file or folder is there."""
    if is_remote(name):
        return is_there(name, Retries())
    return os.path.exists(name)


def list_places(pattern: str) -> list[str]:
    """Return the files that a pattern with * finds, sorted."""
    if is_remote(pattern):
        return _ask(pattern, _list_urls)
    return sorted(glob.glob(pattern))


def _list_urls(files: Any, path: str) -> list[str]:
    return sorted(str(files.unstrip_protocol(found)) for found in files.glob(path, **limit_time(files)))


def list_tars(folder: str) -> list[str]:
    """Return the tars in a folder, sorted; characters of its name that are patterns elsewhere stand for themselves."""
    return list_places(join_place(glob.escape(folder), "*.tar"))


def _ask(url: str, request: Callable[[Any, str], Answer]) -> Answer:
    """Return what a request to the file system of a URL returns, given that and the path in it.

    Raises:
        UsageError: it failed for good.
    """

    def ask() -> Answer:
        files, path = connect(url)
        files.invalidate_cache()
        return request(files, path)

    return Retries().call(ask, url, UsageError)
