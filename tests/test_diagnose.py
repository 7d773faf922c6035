"""What verify says of a damaged shard: exactly the problems that are there, no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pyarrow as pa
import pytest

from shardforge.dataset.index import index_schema
from shardforge.dataset.tarwriter import END, member_header, padding
from shardforge.verify.diagnose import ExpectedMember, diagnose_shard, expected_members

Members = list[tuple[str, bytes]]

#: Two samples with a label, one without; members of several blocks, of a whole block and of no byte.
MEMBERS: Members = [
    *(("a.jpg", bytes(range(256)) * 3), ("a.cls", b"7"), ("a.json", b"{}")),
    *(("b.jpg", b"\1" * 512), ("b.cls", b"12"), ("b.json", b"")),
    *(("c.jpg", b"\2" * 513), ("c.json", b'{"key":1}')),
]
#: Where the members' data begin.
STARTS = [512, 2048, 3072, 4096, 5120, 6144, 6656, 8192]
SIZE = 9728
#: Code, member, expected, found.
Said = tuple[str, str, str, str]


def pack(members: Members) -> bytes:
    return b"".join(member_header(name, len(data)) + data + padding(len(data)) for name, data in members) + END


def expected() -> list[ExpectedMember]:
    return [
        ExpectedMember(name, start - 512, len(data), crc32(data), int(data) if name.endswith("cls") else None)
        for (name, data), start in zip(MEMBERS, STARTS, strict=True)
    ]


def diagnose(folder: Path, data: bytes, wanted: list[ExpectedMember]) -> list[Said]:
    path = folder / "shard.tar"
    path.write_bytes(data)
    found = diagnose_shard(path, "s.tar", wanted)
    assert all(problem.file == "s.tar" and problem.shard for problem in found)
    return [(problem.code, problem.member, problem.expected, problem.found) for problem in found]


def other_bytes(name: str, place: int) -> Said:
    """Return what is said of a member whose byte at `place` was flipped."""
    data = bytearray(dict(MEMBERS)[name])
    before = crc32(data)
    data[place] ^= 1
    return "member_bytes", name, f"CRC-32 {before:08x}", f"{crc32(data):08x}"


def moved(name: str, offset: str, found: str) -> Said:
    return "member_order", name, f"offset {offset}", found


def flip(*places: int) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        flipped = bytearray(data)
        for place in places:
            flipped[place] ^= 1
        return bytes(flipped)

    return damage


def change(edit: Callable[[Members], Members]) -> Callable[[bytes], bytes]:
    return lambda data: pack(edit(list(MEMBERS)))


def with_mode(data: bytes) -> bytes:
    """Make the header of b.cls one of other permissions, with the checksum that goes with them."""
    start = STARTS[4] - 512
    header = data[start : start + 512].replace(b"0000644", b"0000645")
    total = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    return data[:start] + header[:148] + b"%06o\0 " % total + header[156:] + data[start + 512 :]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], list[Said]]] = {
    "none": (flip(), []),
    "first byte of an image": (flip(512), [other_bytes("a.jpg", 0)]),
    "last byte of an image": (flip(6656 + 512), [other_bytes("c.jpg", 512)]),
    "digit of a label": (flip(5121), [("label_wrong", "b.cls", "12", "13")]),
    "no digit in a label": (
        lambda data: data.replace(b"12\0\0", b"1\xff\0\0"),
        [("label_wrong", "b.cls", "12", "1\\xff")],
    ),
    "byte of a header": (flip(3584 + 130), [("tar_header", "b.jpg", "", "another byte at offset 3,714")]),
    "bytes of two headers": (
        flip(0, 4608 + 511),
        [
            ("tar_header", "a.jpg", "", "another byte at offset 0"),
            ("tar_header", "b.cls", "", "another byte at offset 5,119"),
        ],
    ),
    "a header and what is behind it": (
        flip(3584 + 130, 4096, 5122),
        [
            ("tar_header", "b.jpg", "", "another byte at offset 3,714"),
            other_bytes("b.jpg", 0),
            ("tar_padding", "b.cls", "", "after byte 5,122"),
        ],
    ),
    "values of a header": (with_mode, [("tar_header", "b.cls", "", "other values than those written")]),
    "first byte of the padding": (flip(512 + 768), [("tar_padding", "a.jpg", "", "after byte 1,280")]),
    "last byte of the padding": (flip(8703), [("tar_padding", "c.json", "", "after byte 8,201")]),
    "last byte of all": (
        flip(SIZE - 1),
        [("tar_padding", "", "", "other bytes than two zero blocks after byte 8,704")],
    ),
    "bytes behind the end": (
        lambda data: data + bytes(512),
        [("tar_padding", "", "", "other bytes than two zero blocks after byte 8,704")],
    ),
    "cut behind the data of a member": (
        lambda data: data[:8201],
        [("shard_truncated", "", "9,728 bytes", "8,201: 8 of 8 members are whole")],
    ),
    "cut in the data of a member": (
        lambda data: data[:8200],
        [("shard_truncated", "", "9,728 bytes", "8,200: 7 of 8 members are whole")],
    ),
    "cut before the end": (
        lambda data: data[:-1024],
        [("shard_truncated", "", "9,728 bytes", "8,704: 8 of 8 members are whole")],
    ),
    "cut in the end": (
        lambda data: data[:-1],
        [("shard_truncated", "", "two zero blocks at the end", "1023 bytes")],
    ),
    "emptied": (lambda data: b"", [("shard_truncated", "", "9,728 bytes", "0: 0 of 8 members are whole")]),
    "a member dropped": (change(lambda all_: all_[:4] + all_[5:]), [("member_missing", "b.cls", "", "")]),
    "a member added": (change(lambda all_: [*all_, ("x.jpg", b"new")]), [("member_extra", "x.jpg", "", "")]),
    "a member renamed": (
        change(lambda all_: [("x.jpg", all_[0][1]), *all_[1:]]),
        [("member_renamed", "x.jpg", "a.jpg", "")],
    ),
    "two members renamed and one dropped": (
        change(lambda all_: [("x.jpg", all_[0][1]), all_[1], ("y.json", all_[2][1]), *all_[3:7]]),
        [
            ("member_renamed", "x.jpg", "a.jpg", ""),
            ("member_renamed", "y.json", "a.json", ""),
            ("member_missing", "c.json", "", ""),
        ],
    ),
    "a member replaced by another of its size": (
        change(lambda all_: [("x.jpg", bytes(768)), *all_[1:]]),
        [("member_missing", "a.jpg", "", ""), ("member_extra", "x.jpg", "", "")],
    ),
    "a member twice": (change(lambda all_: [all_[0], *all_]), [("member_duplicate", "a.jpg", "once", "2 times")]),
    "samples in another order": (
        change(lambda all_: [*all_[3:6], *all_[:3], *all_[6:]]),
        [
            *(moved("b.jpg", "3,584", "0"), moved("b.cls", "4,608", "1,024"), moved("b.json", "5,632", "2,048")),
            *(moved("a.jpg", "0", "2,560"), moved("a.cls", "1,536", "4,096"), moved("a.json", "2,560", "5,120")),
        ],
    ),
    "a member of another size": (
        change(lambda all_: [*all_[:2], ("a.json", b'{"a":1}'), *all_[3:]]),
        [("member_bytes", "a.json", "2 bytes", "7")],
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_exactly_what_is_wrong_is_said(name: str, tmp_path: Path) -> None:
    damage, problems = DAMAGES[name]
    whole = pack(MEMBERS)
    assert len(whole) == SIZE
    assert diagnose(tmp_path, damage(whole), expected()) == problems


def test_a_hopeless_shard_has_twenty_problems(tmp_path: Path) -> None:
    data = pack([(f"x{i}.jpg", b"x") for i in range(30)])
    assert diagnose(tmp_path, data, expected()) == [
        *[("member_missing", member.name, "", "") for member in expected()],
        *[("member_extra", f"x{i}.jpg", "", "") for i in range(12)],
    ]


def test_a_shard_without_samples(tmp_path: Path) -> None:
    assert diagnose(tmp_path, END, []) == []
    assert diagnose(tmp_path, END[:512], []) == [("shard_truncated", "", "two zero blocks at the end", "512 bytes")]


def test_members_are_expected_where_the_index_has_them() -> None:
    place = {name: (start, len(data), crc32(data)) for (name, data), start in zip(MEMBERS, STARTS, strict=True)}
    columns: list[list[object]] = [["a", "b", "c"], [0, 0, 0], [0, 1, 2], [7, 12, None]]
    for extension in ("jpg", "cls", "json"):
        columns += zip(*(place.get(f"{key}.{extension}", (None,) * 3) for key in "abc"), strict=True)
    schema = index_schema(("jpg", "cls", "json"))
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    assert expected_members(pa.table(arrays, schema), ("jpg", "cls", "json", "txt")) == expected()
