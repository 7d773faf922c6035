"""Bytes that `scripts/fuzz.py` found to do harm: an endless loop, members that others read otherwise, a full memory."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shardforge.errors import DatasetError
from shardforge.loader.index.file import MAGIC, join_rows, open_columns, write_columns
from shardforge.loader.index.rows import Extent, ShardRows
from shardforge.loader.index.shard_index import ShardIndex
from shardforge.samples import hash_keys
from shardforge.tarfiles import BLOCK, TarError, iter_members


def header(kind: bytes, size: int, name: str = "a.jpg") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info


def tar(*headers: tuple[bytes, bytes], field: bytes | None = None) -> bytes:
    """Return a tar of one member behind headers of these types and contents; `field` is what its size is written as."""
    parts = [*headers, (tarfile.REGTYPE, b"one")]
    data = b""
    for kind, content in parts:
        block = bytearray(header(kind, len(content)).tobuf(tarfile.USTAR_FORMAT))
        if kind == tarfile.REGTYPE and field is not None:
            block[124:136] = field.ljust(12, b"\0")
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
        data += bytes(block) + content + bytes(-len(content) % BLOCK)
    return data + bytes(2 * BLOCK)


def record(key: bytes, value: bytes) -> bytes:
    text = b" " + key + b"=" + value + b"\n"
    length = len(text) + len(str(len(text) + 2))
    return str(length).encode() + text


def read_by_python(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "records",
    [
        record(b"path", b"b.jpg") + b"nothing",
        record(b"path", b"b.jpg") + b"1234567890123456789012345",
        record(b"path", b"b.jpg") + b" a=b\n",
        record(b"path", b"b.jpg") + b"0 a=b\n",
        record(b"path", b"b.jpg") + b"4 a=b\n",
        record(b"path", b"b.jpg") + b"-9 a=b\n",
        record(b"path", b"b.jpg") + b"99 a=b\n",
        b"a=b\n",
    ],
)
def test_records_of_a_pax_header_that_are_none_end_in_an_error(records: bytes) -> None:
    with pytest.raises(TarError, match="LENGTH KEY=VALUE"):
        list(iter_members(tar((tarfile.XHDTYPE, records))))


@pytest.mark.parametrize("field", [b"\x0000000000003", b"\0 3", b" \0003", b"\0\0\0\0\0\0\0\x003"])
def test_a_zero_before_the_digits_of_a_size_is_refused(field: bytes) -> None:
    with pytest.raises(TarError, match="octal digits are expected"):
        list(iter_members(tar(field=field)))


@pytest.mark.parametrize(("field", "size"), [(b"3", 3), (b"  3 ", 3), (b"00000000003 ", 3), (b"3\x00009", 3)])
def test_sizes_of_all_usual_forms_are_read_as_python_reads_them(field: bytes, size: int) -> None:
    data = tar(field=field)
    assert [member.size for member in iter_members(data)] == [size]
    assert [info.size for info in read_by_python(data)] == [size]


_LONG, _PAX = tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE


@pytest.mark.parametrize(
    "headers",
    [
        [(_LONG, b"b.jpg\0"), (_LONG, b"c.jpg\0")],
        [(_LONG, b"b.jpg\0"), (_PAX, record(b"path", b"c.jpg"))],
        [(_PAX, record(b"path", b"b.jpg")), (_LONG, b"c.jpg\0")],
        [(_PAX, record(b"path", b"b.jpg")), (_PAX, record(b"path", b"c.jpg"))],
        [(_PAX, record(b"size", b"3")), (_PAX, record(b"size", b"2"))],
        [(_PAX, record(b"path", b""))],
        [(_PAX, record(b"path", b"\0"))],
        [(_LONG, b"\0")],
    ],
)
def test_extension_headers_that_contradict_or_name_nothing_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(TarError, match="no name, or another name or size"):
        list(iter_members(tar(*headers)))


@pytest.mark.parametrize(
    "headers",
    [
        [(_LONG, b"b.jpg\0"), (_PAX, record(b"path", b"b.jpg"))],
        [(tarfile.GNUTYPE_LONGLINK, b"target\0"), (_LONG, b"b.jpg\0")],
        [(_PAX, record(b"comment", b"x")), (_PAX, record(b"path", b"b.jpg") + record(b"size", b"3"))],
        [(tarfile.XGLTYPE, record(b"comment", b"x")), (_PAX, record(b"path", b"b.jpg"))],
    ],
)
def test_extension_headers_that_agree_are_read_as_python_reads_them(headers: list[tuple[bytes, bytes]]) -> None:
    data = tar(*headers)
    assert [(member.name, member.size) for member in iter_members(data)] == [("b.jpg", 3)]
    assert [(info.name, info.size) for info in read_by_python(data)] == [("b.jpg", 3)]


@pytest.mark.parametrize("keyword", [b"path", b"size", b"GNU.sparse.size", b"GNU.sparse.name"])
def test_a_global_header_that_gives_all_members_one_size_or_name_is_refused(keyword: bytes) -> None:
    with pytest.raises(TarError, match="all members"):
        list(iter_members(tar((tarfile.XGLTYPE, record(keyword, b"1")))))


def test_a_member_stays_sparse_behind_one_more_pax_header() -> None:
    headers = (_PAX, record(b"GNU.sparse.major", b"1")), (_PAX, record(b"comment", b"x"))
    with pytest.raises(TarError, match="sparse"):
        list(iter_members(tar(*headers)))


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Return an index of three samples with two members each."""
    numbers = np.arange(3, dtype=np.uint32)
    extent = Extent(numbers + 1, numbers, numbers)
    rows = ShardRows(hash_keys(["a", "b", "c"]), numbers.astype(np.int32), {"jpg": extent, "cls": extent})
    path = tmp_path / "index"
    write_columns(path, join_rows("0" * 16, np.zeros((1, 2), np.int64), [rows]))
    return path


def rewrite(path: Path, change: dict[str, Any] | None = None, *, starts: list[int] | None = None) -> None:
    """Write another description, or other first samples, into the head of an index; its checksum is right."""
    data, place = path.read_bytes(), len(MAGIC) + 12
    (length,) = struct.unpack_from("<Q", data, len(MAGIC))
    text, _, arrays = data[place : place + length].partition(b"\0")
    if starts:
        arrays = np.array(starts, "<i8").tobytes() + arrays[8 * len(starts) :]
    head = json.dumps(json.loads(text) | (change or {})).encode() + b"\0" + arrays
    path.write_bytes(MAGIC + struct.pack("<QI", len(head), zlib.crc32(head)) + head + data[place + length :])


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": "x" * 1000, "samples": 1 << 50},
        {"numbers": [1], "samples": 1 << 40},
        {"numbers": 6.0},
        {"numbers": True},
        {"samples": -3},
        {"samples": 1 << 80},
        {"samples": None},
        {"shards": -1},
        {"shards": "1"},
        {"extensions": "jpg"},
        {"extensions": ["jpg", 1]},
        {"extensions": ["jpg"]},
        {"extensions": ["jpg", "cls", "json"]},
        {"identity": 7},
    ],
)
def test_an_index_whose_head_says_what_cannot_be_is_damaged(index: Path, change: dict[str, Any]) -> None:
    open_columns(index)
    rewrite(index, change)
    with pytest.raises(DatasetError, match="not an index of this version, or damaged"):
        open_columns(index)


@pytest.mark.parametrize("starts", [[1, 3], [0, 2], [0, 4], [-1, 3], [3, 0]])
def test_an_index_whose_shards_do_not_hold_its_samples_is_damaged(index: Path, starts: list[int]) -> None:
    rewrite(index, starts=[0, 3])
    open_columns(index)
    rewrite(index, starts=starts)
    with pytest.raises(DatasetError, match="damaged"):
        open_columns(index)


def test_a_key_of_a_sample_that_is_not_there_is_damage(tmp_path: Path) -> None:
    numbers = np.arange(2, dtype=np.uint32)
    rows = ShardRows(hash_keys(["a", "a"]), numbers.astype(np.int32), {"jpg": Extent(numbers + 1, numbers, None)})
    columns = join_rows("0" * 16, np.zeros((1, 2), np.int64), [rows])
    columns.keys[:, 2] = 1 << 31
    write_columns(tmp_path / "index", columns)
    opened = open_columns(tmp_path / "index")
    index = ShardIndex(tmp_path / "index", opened, SimpleNamespace(urls=["a.tar"]), [None])  # type: ignore[arg-type]
    for find in (lambda: index.find_all(["a"]), lambda: index.find("a"), index.find_repeated):
        with pytest.raises(DatasetError, match=r"key of sample 2,147,483,648 of 2; delete this index"):
            find()
