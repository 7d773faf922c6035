"""Name what is wrong with a shard whose checksum is not the expected one, by comparing it with the index."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from shardforge.dataset.tarwriter import END, member_header, stored_size
from shardforge.files import FileView, open_regular
from shardforge.tarfiles import BLOCK, Member, TarError, iter_members
from shardforge.verify.problems import Problem

#: Problems named in one shard; a shard with more is simply bad.
_MOST = 20


@dataclass(frozen=True)
class ExpectedMember:
    """A member as the index has it."""

    name: str
    offset: int
    size: int
    crc32: int
    label: int | None


def expected_members(index: pa.Table, extensions: tuple[str, ...]) -> list[ExpectedMember]:
    """Return the members of one shard, in order, from its rows of the index; `offset` is that of the header."""
    keys, labels = index["key"].to_pylist(), index["label"].to_pylist()
    columns = [
        (name, *(index[f"{name}_{part}"].to_pylist() for part in ("offset", "size", "crc32")))
        for name in extensions
        if f"{name}_size" in index.column_names
    ]
    return [
        ExpectedMember(f"{key}.{name}", offsets[i] - BLOCK, sizes[i], crcs[i], labels[i] if name == "cls" else None)
        for i, key in enumerate(keys)
        for name, offsets, sizes, crcs in columns
        if sizes[i] is not None
    ]


def diagnose_shard(path: Path, file: str, expected: list[ExpectedMember]) -> list[Problem]:
    """Return what is wrong with the shard at `path`, at most 20 problems; `file` is its name in messages."""
    size = path.stat().st_size
    end = (expected[-1].offset + stored_size(expected[-1].size) if expected else 0) + len(END)
    with open(open_regular(path), "rb", buffering=0) as handle:
        view = FileView(handle.fileno())
        try:
            found = list(iter_members(view))
        except TarError as error:
            problems = list(_compare_in_place(view, file, expected, end)) if size == end else []
            if size < end:
                problems.append(_truncated(file, expected, size, end))
            return problems[:_MOST] or [Problem("tar_header", file, found=str(error))]
        problems = [*_compare_lists(view, file, expected, found), *_check_end(view, file, found)]
    return problems[:_MOST]


def _truncated(file: str, expected: list[ExpectedMember], size: int, end: int) -> Problem:
    whole = sum(member.offset + BLOCK + member.size <= size for member in expected)
    return Problem(
        "shard_truncated",
        file,
        expected=f"{end:,} bytes",
        found=f"{size:,}: {whole} of {len(expected)} members are whole",
    )


def _compare_in_place(view: FileView, file: str, expected: list[ExpectedMember], end: int) -> Iterator[Problem]:
    """Compare each member where it should be: for a shard of the right length that cannot be walked."""
    for member in expected:
        header = view[member.offset : member.offset + BLOCK]
        wanted = member_header(member.name, member.size)
        if header != wanted:
            place = next(i for i in range(BLOCK) if header[i] != wanted[i])
            yield Problem("tar_header", file, member.name, found=f"another byte at offset {member.offset + place:,}")
        yield from _compare_data(view, file, member, member.offset + BLOCK)
    yield from _compare_end(view, file, end - len(END))


def _compare_lists(view: FileView, file: str, expected: list[ExpectedMember], found: list[Member]) -> Iterator[Problem]:
    """Compare by name: for a shard that is a good tar, with other members or other bytes."""
    wanted = {member.name: member for member in expected}
    names = Counter(member.name for member in found)
    yield from (
        Problem("member_duplicate", file, name, expected="once", found=f"{count} times")
        for name, count in names.items()
        if count > 1
    )
    missing = [member for member in expected if member.name not in names]
    extra = {member.name: member for member in found if member.name not in wanted}
    for member in missing:
        twin = next((other for other in extra.values() if _same_data(view, member, other)), None)
        if twin is None:
            yield Problem("member_missing", file, member.name)
        else:
            del extra[twin.name]
            yield Problem("member_renamed", file, twin.name, expected=member.name)
    yield from (Problem("member_extra", file, name) for name in extra)
    for other in found:
        if other.name not in wanted:
            continue
        member = wanted[other.name]
        if not missing and not extra and len(found) == len(expected):
            if other.offset != member.offset:
                yield Problem("member_order", file, other.name, f"offset {member.offset:,}", f"{other.offset:,}")
            elif view[other.offset : other.data_offset] != member_header(member.name, other.size):
                yield Problem("tar_header", file, other.name, found="other values than those written")
        if other.size != member.size:
            yield Problem("member_bytes", file, other.name, f"{member.size:,} bytes", f"{other.size:,}")
        else:
            yield from _compare_data(view, file, member, other.data_offset)


def _same_data(view: FileView, member: ExpectedMember, other: Member) -> bool:
    data = view[other.data_offset : other.data_offset + other.size]
    return other.size == member.size and zlib.crc32(data) == member.crc32


def _compare_data(view: FileView, file: str, member: ExpectedMember, start: int) -> Iterator[Problem]:
    data = view[start : start + member.size]
    if zlib.crc32(data) != member.crc32:
        if member.label is not None:
            found = data.decode("ascii", "backslashreplace")
            yield Problem("label_wrong", file, member.name, expected=str(member.label), found=found)
        else:
            yield Problem("member_bytes", file, member.name, f"CRC-32 {member.crc32:08x}", f"{zlib.crc32(data):08x}")
    padding = view[start + member.size : start + stored_size(member.size) - BLOCK]
    if padding.count(0) != len(padding):
        yield Problem("tar_padding", file, member.name, found=f"after byte {start + member.size:,}")


def _check_end(view: FileView, file: str, found: list[Member]) -> Iterator[Problem]:
    end = found[-1].data_offset + stored_size(found[-1].size) - BLOCK if found else 0
    if (size := len(view) - end) < len(END):
        yield Problem("shard_truncated", file, expected="two zero blocks at the end", found=f"{size} bytes")
    else:
        yield from _compare_end(view, file, end)


def _compare_end(view: FileView, file: str, end: int) -> Iterator[Problem]:
    if len(view) - end != len(END) or view[end:] != END:
        yield Problem("tar_padding", file, found=f"other bytes than two zero blocks after byte {end:,}")
