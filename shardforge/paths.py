"""Paths as text and keys from paths.

File names are bytes; databases and JSON hold text. `path_to_text` is reversible for every name that a file system can
hold: bytes that are not UTF-8 become `\\xNN` and a literal backslash is doubled; ordinary names stay as they are.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from shardforge.errors import UsageError

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
