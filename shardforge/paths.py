"""Paths as text and keys from paths.

File names are bytes; databases and JSON hold text. `path_to_text` is reversible for every name that a file system can
hold: bytes that are not UTF-8 become `\\xNN` and a literal backslash is doubled; ordinary names stay as they are.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from pathlib import Path

from shardforge.errors import UsageError

_URL = re.compile(r"[A-Za-z][\w+.:-]*://")
_PATTERN = re.compile(r"[{*?\[]")
_IMPOSSIBLE = {
    errno.ELOOP: "links in a circle",
    errno.ENOTDIR: "a folder above it is a file",
    errno.ENAMETOOLONG: "longer than a name can be",
}
#: What reads as nothing, and what a shell gives a command's output as: `--exclude <(sort ...)`.
_STREAMS = (os.devnull, "/dev/fd/", "/proc/self/fd/")
_ESCAPED = re.compile(rb"\\(\\|x[0-9a-f]{2})")

#: Hex digits of a key: 96 bits, so that 10^9 keys collide with a probability below 10^-11.
KEY_DIGITS = 24


def encode_path(path: bytes | str) -> bytes:
    """Return a path's bytes; half a surrogate pair, which JSON can write, is encoded as such: no file has that name."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:
        return str(path).encode("utf-8", "surrogatepass")


def path_to_text(path: bytes | str) -> str:
    r"""Return `path` as valid UTF-8 text: a backslash as `\\`, each byte that is not UTF-8 as `\xNN`."""
    raw = path if isinstance(path, bytes) else encode_path(path)
    if b"\\" in raw:
        raw = raw.replace(b"\\", b"\\\\")
    return raw.decode("utf-8", "backslashreplace")


def path_from_text(text: str) -> bytes:
    """Return the file system's bytes for a path written by `path_to_text`."""
    raw = text.encode("utf-8")
    if b"\\" not in raw:
        return raw
    return _ESCAPED.sub(lambda match: b"\\" if match[1] == b"\\" else bytes([int(match[1][1:], 16)]), raw)


def require_local(text: str, name: str) -> None:
    """Refuse text that can name no file or folder on this machine; `name` is what a message calls it, such as --out.

    A path, a pattern of paths, or something that is not there yet passes.

    Raises:
        UsageError: it is empty, a URL, `-`, a link to nothing, a device, or below a file.
    """
    if not text:
        raise UsageError(f"{name}: is empty; give a path")
    if "\0" in text:
        raise UsageError(f"{name} {text!r}: holds a NUL, so no file is called that; mend the name")
    if text.startswith("file:///"):
        raise UsageError(f"{name} {text}: a URL of this machine; give the path alone: {text.removeprefix('file://')}")
    if _URL.match(text):
        raise UsageError(
            f"{name} {text}: a URL, and this command works on files of this machine alone; mount the place, or copy "
            "the files from there or to there, and give a local path"
        )
    if text == "-":
        raise UsageError(f"{name} -: stands for standard input or output, which do not serve here; give a path")
    try:
        mode = os.stat(text).st_mode
    except OSError as error:
        if error.errno in _IMPOSSIBLE and not (error.errno == errno.ENAMETOOLONG and _PATTERN.search(text)):
            raise UsageError(f"{name} {text}: {_IMPOSSIBLE[error.errno]}; give another path") from error
        if error.errno == errno.ENOENT and os.path.islink(text):
            raise UsageError(
                f"{name} {text}: a link to {os.readlink(text)}, which is not there; mend the link, or give another path"
            ) from error
        return  # not there, or not allowed: whoever opens it says so
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or text.startswith(_STREAMS)):
        raise UsageError(f"{name} {text}: neither a file nor a folder; give one of these")


def require_text(path: Path) -> None:
    """Refuse a path that a database cannot hold as it is.

    Raises:
        UsageError: its name is not UTF-8 text.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the name of {os.fsencode(path)!r} is not UTF-8 text, which a database cannot hold; rename it, or name a "
            "symbolic link to it"
        ) from error


def make_key(source: str, path: str) -> str:
    """Return the stable name of a record: 24 hex digits of the SHA-256 of source name and path.

    The same source name and path give the same key on every machine and in every scan; moving the root changes none.
    """
    return hashlib.sha256(f"{source}\0{path}".encode()).hexdigest()[:KEY_DIGITS]
