"""Tars as tests want them: members of any type, in any format, with headers that say what no writer writes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
#: Two zero blocks.
END = bytes(1024)

#: What is a header alone; links lead to a.jpg.
KINDS = {"link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "folder": tarfile.DIRTYPE}
#: A name and its data, or one of `KINDS`.
Member = tuple[str, bytes | str]


def pack(members: Iterable[Member], format: str = "gnu") -> bytes:
    """Return a tar of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[format]) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = KINDS[data], "a.jpg"
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_tar(path: Path, members: Iterable[Member], format: str = "gnu") -> Path:
    """Write such a tar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(members, format))
    return path


def header(name: str, size: int | bytes, kind: bytes = b"0", **fields: bytes) -> bytes:
    """Return a header with a right checksum; a size of bytes, and others by their offset (`at_482`), as they are."""
    raw = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    raw[124:136] = (b"%011o\0" % size) if isinstance(size, int) else size.ljust(12, b"\0")
    raw[156:157] = kind
    for place, value in fields.items():
        offset = int(place.removeprefix("at_"))
        raw[offset : offset + len(value)] = value
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def file(name: str, data: bytes, kind: bytes = b"0") -> bytes:
    """Return a member: header, data and padding."""
    return header(name, len(data), kind) + data + bytes(-len(data) % 512)


def pax(*records: bytes) -> bytes:
    """Return a PAX header with these records, `KEY=VALUE`, or as they are where they have their length."""
    data = b"".join(record if record[:1].isdigit() else _measure(record) for record in records)
    return file("PaxHeader", data, b"x")


def _measure(record: bytes) -> bytes:
    length = len(record) + 2
    while length != len(record) + 2 + len(str(length)):
        length = len(record) + 2 + len(str(length))
    return b"%d %s\n" % (length, record)
