"""Reads the headers of a tar in memory: ustar, GNU long names, and PAX paths and sizes (IEEE Std 1003.1-2001, pax).

Nothing is copied but headers, so that walking a mapped tar costs microseconds per member, whatever the members weigh,
and nothing is read or kept because a header says so: time and memory are linear in the bytes that are there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, Protocol

from shardforge import reasons
from shardforge.errors import DatasetError
from shardforge.paths import path_to_text

BLOCK = 512
_ZEROS = bytes(1 << 20)
_FILE_TYPES = b"0\x007"
_OLD_FILE = 0
_LINK_TYPES = b"12"
_DEVICE_TYPES = b"346"
_HEADER_ONLY_TYPES = b"123456"
_GNU_SPARSE = ord("S")
_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL, _PAX_SOLARIS = _EXTENSION_TYPES = b"LKxgX"
_ADLER_MODULUS = 65521

#: Bytes of a name, and of a PAX header, whose extended attributes may take their room: more is no header of a file.
_MOST_NAME = 1 << 16
_MOST_PAX = 4 << 20
_MOST_DIGITS = 19

#: First bytes of what tars are compressed with -> the program that unpacks it.
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
#: What names of compressed tars end in -> the program that unpacks them.
_PROGRAMS = {
    **dict.fromkeys((".tar.gz", ".tgz"), "gzip"),
    **dict.fromkeys((".tar.bz2", ".tbz2", ".tbz"), "bzip2"),
    **dict.fromkeys((".tar.xz", ".txz"), "xz"),
    **dict.fromkeys((".tar.zst", ".tzst"), "zstd"),
    ".tar.lz4": "lz4",
}
_COMPRESSED_SUFFIXES = tuple(_PROGRAMS)


class TarError(DatasetError):
    """A tar does not follow its format."""


class TruncatedTarError(TarError):
    """A tar ends before its end-of-archive mark."""


class CompressedTarError(TarError):
    """A tar is compressed as a whole, so that no member can be read in place."""


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
        reason: Why its bytes do not lie there in one piece: a code of `shardforge.reasons`, None for all others.
    """

    name: str
    offset: int
    data_offset: int
    size: int
    reason: str | None = None


class _Extended(NamedTuple):
    """What extension headers say of the member after them."""

    name: bytes | None = None
    size: int | None = None
    sparse: bool = False


_NOTHING = _Extended()


def iter_members(view: TarBytes, *, odd: bool = False) -> Iterator[Member]:
    """Yield the regular files of the tar in `view`, in order; directories, links and devices are passed over.

    With `odd`, hard and symbolic links (reason `link`), devices and pipes (`not_an_image`), sparse files and types that
    no standard has (`compressed`: they must be unpacked to be read) are yielded, too. Without it, a sparse file is an
    error, since others read it.

    Raises:
        CompressedTarError: this is a compressed file; the message says how to unpack it.
        TruncatedTarError: the tar ends inside a member or without its end mark; members before that were yielded.
        TarError: a header is damaged, or absurd, or other data follows the end mark.
    """
    position, end = 0, len(view)
    start = 0  # of the headers that belong to the next member
    extended = _NOTHING
    while position + BLOCK <= end:
        header = bytes(view[position : position + BLOCK])
        if not header[0] and not any(header):
            _check_tail(view, position)
            return
        if zlib.adler32(header) & 0xFFFF != _expect_adler(header[148:156]):
            _refuse_compressed(header, position)
            raise TarError(f"the header at byte {position} has a wrong checksum")
        kind = header[156]
        data_offset = position + BLOCK
        size = 0 if kind in _HEADER_ONLY_TYPES else _read_number(header[124:136], position)
        if kind in _EXTENSION_TYPES:
            _check_end(position, data_offset + size, end)
            extended = _read_extension(view, position, kind, size, extended)
            position = data_offset + size + -size % BLOCK
            continue
        if extended.size is not None and kind not in _HEADER_ONLY_TYPES:
            size = extended.size
        if kind == _GNU_SPARSE:
            data_offset = _skip_sparse_map(view, header, data_offset)
        following = data_offset + size + -size % BLOCK
        if following > end:
            _check_end(position, following, end)
        if kind in _FILE_TYPES and not extended.sparse:
            name = path_to_text(extended.name or _read_name(header))
            if kind != _OLD_FILE or not name.endswith("/"):  # as tars of before 1988 spell directories
                yield Member(name, start, data_offset, size)
        elif odd or extended.sparse or kind == _GNU_SPARSE:
            if not odd:
                raise TarError(f"the member at byte {start} is sparse, which is not supported: write the tar anew")
            if reason := _why_odd(kind):
                yield Member(path_to_text(extended.name or _read_name(header)), start, data_offset, size, reason)
        position = start = following
        extended = _NOTHING
    _refuse_compressed(bytes(view[:BLOCK]), position)
    raise TruncatedTarError(f"the tar ends at byte {end} without an end mark")


def find_compression(name: str) -> str | None:
    """Return what to do with a tar whose name says that it is compressed, as a sentence about it; None for others."""
    if not name.lower().endswith(_COMPRESSED_SUFFIXES):
        return None
    return _explain_compression(next(_PROGRAMS[end] for end in _COMPRESSED_SUFFIXES if name.lower().endswith(end)))


def _explain_compression(program: str) -> str:
    return (
        f"is compressed ({program}), so its members cannot be read in place; unpack it first, as by "
        f"`{program} -dc FILE > NAME.tar`"
    )


def _why_odd(kind: int) -> str | None:
    """Return why the data of a member of this type do not lie there as they are; None for directories."""
    if kind in _LINK_TYPES:
        return reasons.LINK
    if kind in _DEVICE_TYPES:
        return reasons.NOT_AN_IMAGE
    return None if kind in _HEADER_ONLY_TYPES else reasons.COMPRESSED


def _check_end(position: int, following: int, end: int) -> None:
    if following > end:
        raise TruncatedTarError(f"the member at byte {position} needs {following} bytes, the tar has {end}")


@lru_cache(maxsize=1 << 12)
def _expect_adler(field: bytes) -> int | None:
    """Return the low half of the Adler-32 of a header with this checksum field, None where the field is no number.

    The checksum is the sum of the header's bytes, those of the field itself counted as eight spaces; the low half of
    Adler-32 is one plus the sum of all bytes, modulo 65521, and ten times as fast as `sum`.
    """
    number = _parse_octal(field)
    return None if number is None else (1 + number + sum(field) - 8 * ord(" ")) % _ADLER_MODULUS


def _refuse_compressed(head: bytes, position: int) -> None:
    """Say of what is no tar from its first byte on that it is a compressed file, where it is one."""
    program = next((program for magic, program in _COMPRESSED.items() if head.startswith(magic)), None)
    if program and position == 0:
        raise CompressedTarError(_explain_compression(program))


def _read_number(field: bytes, position: int) -> int:
    """Return a number field: octal digits, or base 256 where its first bit is set."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise TarError(f"the header at byte {position} has a negative number, or one beyond all sizes")
        return int.from_bytes(field[1:], "big")
    number = _parse_octal(field)
    if number is None:
        raise TarError(f"the header at byte {position} has {field!r} where octal digits are expected")
    return number


def _parse_octal(field: bytes) -> int | None:
    """Return a number of octal digits, of which a zero byte is the end; None where there are others.

    A zero byte before the digits is refused: GNU tar passes over it, Python and so webdataset read the number 0.
    """
    digits = field.rstrip(b"\0 ").lstrip(b" ") or b"0"
    if digits.strip(b"01234567"):  # int() would take signs and underscores, too
        digits = digits.partition(b"\0")[0].strip()
        if not digits or digits.strip(b"01234567"):
            return None
    return int(digits, 8)


def _read_name(header: bytes) -> bytes:
    """Return the path in a header; only ustar, not GNU, keeps a folder in the prefix field."""
    name = header[:100].partition(b"\0")[0]
    if header[345] and header[257:263] == b"ustar\0":
        return header[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _read_extension(view: TarBytes, position: int, kind: int, size: int, extended: _Extended) -> _Extended:
    """Return what is known of the next member after one more extension header at byte `position`."""
    if kind == _GNU_LONG_LINK:
        return extended
    most = _MOST_NAME if kind == _GNU_LONG_NAME else _MOST_PAX
    if size > most:
        raise TarError(f"the extension header at byte {position} has {size} bytes; expected at most {most}")
    data = bytes(view[position + BLOCK : position + BLOCK + size])
    if kind == _GNU_LONG_NAME:
        return _join(extended, _Extended(data.partition(b"\0")[0]), position)
    records = _read_pax(data, position)
    sparse = b"GNU.sparse." in data and any(keyword.startswith(b"GNU.sparse.") for keyword in records)
    if kind == _PAX_GLOBAL:
        if sparse or b"path" in records or b"size" in records:
            raise TarError(f"the global PAX header at byte {position} gives all members one path or size")
        return extended
    name, number = records.get(b"GNU.sparse.name", records.get(b"path")), records.get(b"size")
    name = None if name is None else name.rstrip(b"\0")
    if b"\0" in (name or b""):
        raise TarError(f"the PAX header at byte {position} has a name with a zero byte, which readers cut or keep")
    told = _Extended(name, None if number is None else _read_decimal(number, position), sparse)
    return _join(extended, told, position)


def _join(known: _Extended, told: _Extended, position: int) -> _Extended:
    """Return what extension headers say together; where they contradict, readers differ in which they take."""
    name = known.name if told.name is None else told.name
    size = known.size if told.size is None else told.size
    if name == b"" or known.name not in (name, None) or known.size not in (size, None):
        raise TarError(f"the extension header at byte {position} gives a member no name, or another name or size")
    return _Extended(name, size, known.sparse or told.sparse)


def _read_decimal(digits: bytes, position: int) -> int:
    if not digits.isdigit() or len(digits) > _MOST_DIGITS:
        raise TarError(f"the PAX header at byte {position} has the size {digits[:40]!r}; expected decimal digits")
    return int(digits)


def _read_pax(data: bytes, position: int) -> dict[bytes, bytes]:
    """Return the records of a PAX header: "LENGTH KEY=VALUE" and a line end, LENGTH counting all of it."""
    records = {}
    start = 0
    while start < len(data) and data[start]:  # some pad it with zeros
        space = data.find(b" ", start, start + _MOST_DIGITS)
        digits = data[start:space] if space > 0 else b""
        end = start + int(digits) if digits.isdigit() else 0  # of a record that is none, which has no "=" then
        key, equals, value = data[space + 1 : end].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(data):
            raise TarError(f"the PAX header at byte {position} has a record that is not LENGTH KEY=VALUE")
        records[key] = value[:-1]
        start = end
    return records


def _skip_sparse_map(view: TarBytes, header: bytes, position: int) -> int:
    """Return where the data of an old GNU sparse member start: behind as many blocks of its map as there are."""
    more = header[482]
    while more and position + BLOCK <= len(view):
        more = bytes(view[position + 504 : position + 505])[0]
        position += BLOCK
    return position


def _check_tail(view: TarBytes, position: int) -> None:
    """Allow nothing but zeros from the end mark on: what follows would never be read."""
    for start in range(position, len(view), len(_ZEROS)):
        block = bytes(view[start : start + len(_ZEROS)])
        if block != _ZEROS[: len(block)]:
            raise TarError(f"data follows the end mark at byte {position}; joined tars must be split")
