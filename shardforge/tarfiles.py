"""Reads the headers of a tar in memory: ustar, GNU long names, and PAX paths and sizes (IEEE Std 1003.1-2001, pax).

Nothing is copied but headers, so that walking a mapped tar costs microseconds per member, whatever the members weigh.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from shardforge.errors import DatasetError
from shardforge.paths import path_to_text

BLOCK = 512
_CHECK_BLOCK = 1 << 20
_FILE_TYPES = b"0\x007"
_HEADER_ONLY_TYPES = b"123456"
_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL = b"LKxg"
_ADLER_MODULUS = 65521


class TarError(DatasetError):
    """A tar does not follow its format."""


class TruncatedTarError(TarError):
    """A tar ends before its end-of-archive mark."""


class TarBytes(Protocol):
    """The bytes of a tar: in memory, mapped, or read from a file as they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes | memoryview: ...


class Member(NamedTuple):
    """One regular file in a tar.

    Attributes:
        name: Its path in the tar, as text of `shardforge.paths`.
        offset: First byte of its header, or of the long-name or PAX header before that.
        data_offset: First byte of its data.
        size: Bytes of its data.
    """

    name: str
    offset: int
    data_offset: int
    size: int


def iter_members(view: TarBytes) -> Iterator[Member]:
    """Yield the regular files of the tar in `view`, in order; directories and links are passed over.

    Raises:
        TruncatedTarError: the tar ends inside a member or without its end mark; members before that were yielded.
        TarError: a header's checksum is wrong, a type is unknown, or other data follows the end mark.
    """
    position, end = 0, len(view)
    start = 0  # of the headers that belong to the next member
    name: bytes | None = None
    size: int | None = None
    while position + BLOCK <= end:
        header = bytes(view[position : position + BLOCK])
        if not header[0] and not any(header):
            _check_tail(view, position)
            return
        kind = header[156]
        _check_header(header, position)
        data_offset = position + BLOCK
        data_size = _read_number(header[124:136], position) if size is None else size
        if kind in _HEADER_ONLY_TYPES:
            data_size = 0
        following = data_offset + data_size + -data_size % BLOCK
        if following > end:
            raise TruncatedTarError(f"the member at byte {position} needs {following} bytes, the tar has {end}")
        if kind in _FILE_TYPES:
            yield Member(path_to_text(name or _read_name(header)), start, data_offset, data_size)
        elif kind == _GNU_LONG_NAME:
            name = bytes(view[data_offset : data_offset + data_size]).rstrip(b"\0")
        elif kind == _PAX:
            records = _read_pax(bytes(view[data_offset : data_offset + data_size]), position)
            if any(keyword.startswith(b"GNU.sparse.") for keyword in records):
                raise TarError(f"the member at byte {start} is sparse, which is not supported: write the tar anew")
            name = records.get(b"path", name)
            size = _read_decimal(records[b"size"], position) if b"size" in records else size
        elif kind not in _HEADER_ONLY_TYPES and kind not in (_GNU_LONG_LINK, _PAX_GLOBAL):
            raise TarError(f"the member at byte {position} is of the unsupported type {chr(kind)!r}")
        position = following
        if kind in _FILE_TYPES or kind in _HEADER_ONLY_TYPES:
            start, name, size = position, None, None
    raise TruncatedTarError(f"the tar ends at byte {end} without an end mark")


def _check_header(header: bytes, position: int) -> None:
    """Compare the header's checksum: the sum of its bytes, those of the checksum field counted as eight spaces.

    The low half of Adler-32 is one plus the sum of all bytes, modulo 65521, and ten times as fast as `sum`.
    """
    field = header[148:156]
    total = _read_number(field, position) + sum(field) - 8 * ord(" ")
    if (1 + total) % _ADLER_MODULUS != zlib.adler32(header) & 0xFFFF:
        raise TarError(f"the header at byte {position} has a wrong checksum")


def _read_number(field: bytes, position: int) -> int:
    """Return a number field: octal digits, or base 256 where its first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ") or b"0"
    if digits.strip(b"01234567"):  # int() would take signs and underscores, too
        raise TarError(f"the header at byte {position} has {field!r} where octal digits are expected")
    return int(digits, 8)


def _read_decimal(digits: bytes, position: int) -> int:
    if not digits.isdigit():
        raise TarError(f"the PAX header at byte {position} has the size {digits!r}; expected decimal digits")
    return int(digits)


def _read_name(header: bytes) -> bytes:
    """Return the path in a header; only ustar, not GNU, keeps a folder in the prefix field."""
    name = header[:100].partition(b"\0")[0]
    if header[345] and header[257:263] == b"ustar\0":
        return header[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _read_pax(data: bytes, position: int) -> dict[bytes, bytes]:
    """Return the records of a PAX header: "LENGTH KEY=VALUE" and a line end, LENGTH counting all of it."""
    records = {}
    while data:
        digits = data.partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = data[len(digits) + 1 : length].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise TarError(f"the PAX header at byte {position} has a record that is not LENGTH KEY=VALUE")
        records[key] = value[:-1]
        data = data[length:]
    return records


def _check_tail(view: TarBytes, position: int) -> None:
    """Allow nothing but zeros from the end mark on: what follows would never be read."""
    for start in range(position, len(view), _CHECK_BLOCK):
        if any(view[start : start + _CHECK_BLOCK]):
            raise TarError(f"data follows the end mark at byte {position}; joined tars must be split")
