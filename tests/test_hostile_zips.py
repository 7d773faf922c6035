"""Hostile and damaged zips: an odd entry costs its row, damage the rest of its zip; nothing else is touched."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import list_all, little_memory
from hypothesis import given, settings
from hypothesis import strategies as st

from shardforge.errors import ImageError
from shardforge.files import FileView
from shardforge.sources.reading import read_record
from shardforge.zipfiles import ZipError, iter_entries, read_entry


def entry(
    name: bytes,
    packed: int,
    size: int,
    offset: int,
    *,
    method: int = 0,
    flags: int = 0,
    extra: bytes = b"",
    unix: int = 0,
) -> bytes:
    """Return an entry of a zip's directory."""
    sizes = (packed, size, len(name), len(extra))
    head = struct.pack(
        "<4s6H3I5H2I", b"PK\1\2", 3 << 8, 20, flags, method, *(0, 0, 0), *sizes, *(0, 0, 0), unix << 16, offset
    )
    return head + name + extra


def make_zip(path: Path, entries: Callable[[int], bytes], *, data: bytes = b"", count: int | None = None) -> Path:
    """Write a zip of 1.jpg, further data, and a directory with `entries` (told where the data start) behind 1.jpg."""
    first = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, zlib.crc32(b"A"), 1, 1, 5, 0) + b"1.jpg" + b"A"
    directory = entry(b"1.jpg", 1, 1, 0) + entries(len(first))
    start = len(first) + len(data)
    found = directory.count(b"PK\1\2") if count is None else count
    end = struct.pack("<4s4HIIH", b"PK\5\6", 0, 0, found & 0xFFFF, found & 0xFFFF, len(directory), start, 0)
    path.write_bytes(first + data + directory + end)
    return path


_WIDE = 0xFFFFFFFF


def zip64(*numbers: int, cut: int = 0) -> bytes:
    extra = struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers)
    return extra[: len(extra) - cut]


LOCAL = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, 0, 0, 0, 0)

#: Directories -> the reason of 2.jpg, or, with the name of the zip, its own.
ZIPS: dict[str, tuple[Callable[[int], bytes], dict[str, str | None]]] = {
    "a cut zip64 field": (
        lambda at: entry(b"2.jpg", _WIDE, _WIDE, _WIDE, extra=zip64(1, 1, at, cut=13)),
        {"2.jpg": "corrupt"},
    ),
    "zip64 sizes of 2^62": (
        lambda at: entry(b"2.jpg", _WIDE, _WIDE, at, extra=zip64(1 << 62, 1 << 62)),
        {"2.jpg": "corrupt"},
    ),
    "zip64 sizes of 2^63": (
        lambda at: entry(b"2.jpg", _WIDE, _WIDE, at, extra=zip64(1 << 63, 1 << 63)),
        {"2.jpg": "corrupt"},
    ),
    "zip64 offset of 2^64 - 1": (
        lambda at: entry(b"2.jpg", 1, 1, _WIDE, extra=zip64((1 << 64) - 1)),
        {"2.jpg": "corrupt"},
    ),
    "an offset beyond the end": (lambda at: entry(b"2.jpg", 1, 1, 1 << 30), {"2.jpg": "corrupt"}),
    "more bytes than can be packed": (lambda at: entry(b"2.jpg", 4, 5000, at, method=8), {"2.jpg": "corrupt"}),
    "a stored file of two sizes": (lambda at: entry(b"2.jpg", 1, 9, 0), {"2.jpg": "corrupt"}),
    "encrypted": (lambda at: entry(b"2.jpg", 1, 1, 0, flags=1), {"2.jpg": "compressed"}),
    **{
        f"method {method}": (
            lambda at, method=method: entry(b"2.jpg", 1, 1, 0, method=method),
            {"2.jpg": "compressed"},
        )
        for method in (9, 12, 14, 93, 95, 99)
    },
    "a link": (lambda at: entry(b"2.jpg", 1, 1, 0, unix=0o120777), {"2.jpg": "link"}),
    "an absurd link": (
        lambda at: entry(b"2.jpg", _WIDE, _WIDE, 0, unix=0o120777, extra=zip64(1 << 63, 1 << 63)),
        {"2.jpg": "corrupt"},
    ),
    "a folder": (lambda at: entry(b"2.jpg/", 0, 0, 0), {}),
    "a zero byte in a name": (lambda at: entry(b"2.jpg\0.txt", 1, 1, 0, flags=1), {"2.jpg": "compressed"}),
    "a name that is no UTF-8": (lambda at: entry(b"\xff.jpg", 1, 1, 0, flags=1), {r"\xff.jpg": "compressed"}),
    "names that lead outside": (
        lambda at: entry(b"../2.jpg", 1, 1, 0, flags=1) + entry(b"/etc/3.jpg", 1, 1, 0, flags=1),
        {"../2.jpg": "compressed", "/etc/3.jpg": "compressed"},
    ),
    "entries that overlap": (lambda at: b"".join(entry(b"%d.jpg" % n, 1, 1, 0) for n in range(2, 9)), {"": "corrupt"}),
    "half an entry": (lambda at: entry(b"2.jpg", 1, 1, 0)[:-30], {"": "corrupt"}),
    "no entry": (lambda at: b"PK\1\3" + bytes(60), {"": "corrupt"}),
}


@pytest.mark.parametrize("name", ZIPS)
def test_an_odd_entry_of_a_zip_costs_its_row(tmp_path: Path, name: str) -> None:
    entries, expected = ZIPS[name]
    make_zip(tmp_path / "odd.zip", entries)
    make_zip(tmp_path / "whole.zip", lambda at: b"")
    rows = list_all(f"a=eol:{tmp_path}")
    found = {row["path"]: row["reason"] for row in rows}
    assert found.pop("odd.zip::1.jpg") == found.pop("whole.zip::1.jpg") == "misnamed"
    assert found == {f"odd.zip::{n}" if n else "odd.zip": reason for n, reason in expected.items()}
    assert all(row["note"] for row in rows if row["path"] == "odd.zip")


@pytest.mark.parametrize("count", [0, 3, (1 << 16) - 1])
def test_a_directory_of_another_length_than_it_says_is_told(tmp_path: Path, count: int) -> None:
    make_zip(tmp_path / "odd.zip", lambda at: b"", count=count)
    found = {row["path"]: row["reason"] for row in list_all(f"a=eol:{tmp_path}")}
    assert found == {"odd.zip::1.jpg": "misnamed", "odd.zip": "corrupt"}


def test_a_64_bit_directory_of_2_to_the_64_entries(tmp_path: Path) -> None:
    tail = make_zip(tmp_path / "odd.zip", lambda at: b"").read_bytes()
    start, size = len(tail) - 22 - 51, 51
    wide = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, (1 << 64) - 1, (1 << 64) - 1, size, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(tail) - 22, 1)
    (tmp_path / "odd.zip").write_bytes(tail[:-22] + wide + locator + tail[-22:])
    found = {row["path"]: row["reason"] for row in list_all(f"a=eol:{tmp_path}")}
    assert found == {"odd.zip::1.jpg": "misnamed", "odd.zip": "corrupt"}


def test_what_unpacks_to_6_gb_is_foreseen_and_never_held(tmp_path: Path) -> None:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = squeezer.compress(bytes(64 << 20)) + squeezer.flush()
    times = 100
    data = LOCAL + packed * times  # what is behind the first end of a stream is never unpacked
    extra = zip64(6 << 30)
    make_zip(
        tmp_path / "bomb.zip",
        lambda at: entry(b"1_1_eol.jpg", len(packed) * times, _WIDE, at, method=8, extra=extra),
        data=data,
    )
    with little_memory():
        rows = list_all(f"a=eol:{tmp_path}")
        assert [row["reason"] for row in rows] == ["misnamed", "too_costly"]
        with pytest.raises(ImageError) as caught:
            read_record(str(tmp_path), rows[1]["path"], rows[1]["offset"], rows[1]["bytes"], rows[1]["mtime"])
        assert caught.value.reason == "too_costly"


def test_no_more_is_unpacked_than_was_listed(tmp_path: Path) -> None:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = squeezer.compress(bytes(64 << 20)) + squeezer.flush()
    place = make_zip(
        tmp_path / "a.zip", lambda at: entry(b"2.jpg", len(packed), 1000, at, method=8), data=LOCAL + packed
    )
    with little_memory(), open(place, "rb") as opened:
        entries = list(iter_entries(FileView(opened.fileno())))
        assert entries[1].size == 1000
        assert read_entry(opened.fileno(), entries[1].offset, 1000) == bytes(1000)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_changed_byte_in_a_zip_is_found(tmp_path: Path, method: int) -> None:
    data = bytes(range(256)) * 4
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("1.jpg", data)
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    with open(tmp_path / "a.zip", "rb") as opened:
        assert read_entry(opened.fileno(), 0, len(data)) == data
    raw[45] ^= 1
    (tmp_path / "a.zip").write_bytes(raw)
    with open(tmp_path / "a.zip", "rb") as opened, pytest.raises(ImageError, match="is damaged"):
        read_entry(opened.fileno(), 0, len(data))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_a_zip_holds_its_reader_ends_with_a_sentence(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(data.draw(st.integers(0, 3))):
            info = zipfile.ZipInfo(f"{number}.jpg")
            info.compress_type = data.draw(st.sampled_from([0, 8, 12]))
            with archive.open(info, "w", force_zip64=data.draw(st.booleans())) as member:
                member.write(bytes(data.draw(st.integers(0, 99))))
    raw = bytearray(buffer.getvalue())
    numbers = [bytes([n]) for n in (0, 1, 127, 128, 255)] + [(1 << n).to_bytes(8, "little") for n in (32, 62, 63)]
    for _ in range(data.draw(st.integers(0, 3))):
        place, value = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.sampled_from([*numbers, b"\xff" * 8]))
        raw[place : place + len(value)] = value
    with open(os.memfd_create("zip"), "wb") as opened, contextlib.suppress(ZipError, ImageError):
        handle = opened.fileno()
        os.write(handle, raw[: data.draw(st.one_of(st.none(), st.integers(0, len(raw))))])
        for found in iter_entries(FileView(handle, ahead=64)):
            assert 0 <= found.offset < 1 << 63
            assert 0 <= found.size < 1 << 63
            if found.reason is None:
                assert len(read_entry(handle, found.offset, found.size)) == found.size
