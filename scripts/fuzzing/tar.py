"""Tars: `shardforge.tarfiles` and `shardforge.samples`, against Python's `tarfile`, by which webdataset reads."""

from __future__ import annotations

import io
import os
import tarfile
from random import Random

from fuzzing.target import Target, require

from shardforge.paths import path_to_text
from shardforge.samples import iter_samples
from shardforge.tarfiles import BLOCK, Member, TarError, iter_members

_KEYWORDS = (b"path", b"size", b"linkpath", b"comment", b"mtime", b"hdrcharset", b"GNU.sparse.name", b"GNU.sparse.size")
_VALUES = (
    *(b"", b"0", b"1", b"12", b"600", b"00000001130", b" 1130 ", b"-1", b"+3", b"1_0", b"0x10", b"9" * 18, b"9" * 20),
    *(b"a.jpg", b"d/", b"/", b"..", b"a\0b", b"\xff", b"a=b", b"BINARY", b"n" * 300, b"7" * 12, b"\0" + b"12"),
    *(b"\x80" + bytes(10) + b"\3", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7),
    *(b"ustar\x0000", b"ustar  \0"),
)
_CHECKSUM = slice(148, 156)


def make_seeds() -> list[bytes]:
    plain = {"a.jpg": b"one", "a.cls": b"1", "train/b.jpg": bytes(600), "train/b.json": b"{}"}
    long = {"d/" * 60 + "name.jpg": b"x", "é" * 120 + ".cls": b"7", "c.jpg": b""}
    seeds = [make_tar(files, form) for files in (plain, long) for form in (0, 1, 2)]
    seeds += [make_tar({"a.jpg": b"one"}, 2, pax={"size": "3", "comment": "no"}), make_tar({}, 1)]
    seeds += [make_tar(plain, 1, kinds=True), make_tar(plain, 2, kinds=True)]
    sparse = bytearray(make_tar({"s.bin": b"data"}, tarfile.GNU_FORMAT))
    sparse[156] = ord("S")
    return [*seeds, mend(bytes(sparse))]


def make_tar(files: dict[str, bytes], form: int, *, pax: dict[str, str] | None = None, kinds: bool = False) -> bytes:
    """Return a tar in a format of `tarfile`; with `kinds` also a folder, links and a device."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=form, pax_headers={"comment": "all"} if pax else None) as tar:
        for name, data in files.items():
            if form == tarfile.USTAR_FORMAT and len(os.fsencode(name)) > 100:
                name = name[-50:]
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.pax_headers = pax or {}
            tar.addfile(info, io.BytesIO(data))
        for kind in (tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE) if kinds else ():
            info = tarfile.TarInfo("k" * 120 if kind == tarfile.LNKTYPE else "k.jpg")
            info.type, info.linkname = kind, "l" * 110
            tar.addfile(info)
    return held.getvalue().rstrip(b"\0").ljust(-(-held.tell() // BLOCK) * BLOCK, b"\0")[: _end(held.getvalue())]


def _end(data: bytes) -> int:
    """Return where the two blocks of the end mark end; tarfile fills up to twenty."""
    return -(-len(data.rstrip(b"\0")) // BLOCK) * BLOCK + 2 * BLOCK


def mend(data: bytes) -> bytes:
    """Return a tar with the checksums of its headers made right, as far as they can be followed."""
    whole, position = bytearray(data), 0
    while position + BLOCK <= len(whole):
        header = whole[position : position + BLOCK]
        if not any(header):
            break
        header[_CHECKSUM] = b" " * 8
        header[_CHECKSUM] = b"%06o\0 " % sum(header)
        whole[position : position + BLOCK] = header
        try:
            size = int(header[124:135].strip(b"\0 ") or b"0", 8)
        except ValueError:
            size = 0
        position += BLOCK + (0 if header[156] in b"123456" else max(0, size + -size % BLOCK))
    return bytes(whole)


def vary(data: bytes, random: Random) -> bytes:
    """Return a tar with another field in a header, or with one more extension header; both need to be mended."""
    whole = bytearray(data)
    place = random.randrange(len(whole) // BLOCK + 1) * BLOCK
    if random.random() < 0.5:
        field, size = random.choice(
            ((0, 100), (124, 12), (124, 12), (156, 1), (156, 1), (257, 8), (345, 155), (482, 1))
        )
        value = random.choice(_VALUES if size > 1 else [bytes([kind]) for kind in b"\001234567SLKxgXVDMNA "])
        whole[place + field : place + field + size] = value[:size].ljust(size, b"\0")
        return bytes(whole[: max(len(data), place + BLOCK)])
    records = b"".join(_make_record(random) for _ in range(random.randrange(4)))
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = random.choice((b"x", b"x", b"g", b"X", b"L", b"K")), len(records)
    return data[:place] + info.tobuf() + records.ljust(-(-len(records) // BLOCK) * BLOCK, b"\0") + data[place:]


def _make_record(random: Random) -> bytes:
    """Return a record of a PAX header; one of eight has another length than it says."""
    text = b" " + random.choice(_KEYWORDS) + b"=" + random.choice(_VALUES) + b"\n"
    length = len(text) + len(str(len(text) + len(str(len(text)))))
    return str(length + (random.choice((-9, -1, 1, 99)) if random.random() < 0.125 else 0)).encode() + text


def check(data: bytes) -> None:
    odd, _ = read(data, odd=True)
    members, whole = read(data, odd=False)
    plain = [member for member in odd if member.reason is None]
    require(plain[: len(members)] == members, "what is odd changes what is plain")
    samples = list(iter_samples(odd, strays=True))
    parts = sorted((member for sample in samples for _, member in sample.members), key=lambda member: member.offset)
    require(parts == odd, "samples lose members")
    require(all(sample.key or len(sample.members) == 1 for sample in samples), "strays together")
    if whole:
        compare(data, members)


def read(data: bytes, *, odd: bool) -> tuple[list[Member], bool]:
    """Return the members up to an error, and whether there was none."""
    members: list[Member] = []
    end = 0
    try:
        for member in iter_members(memoryview(data), odd=odd):
            members.append(member)
            member.name.encode()
            require(end <= member.offset < member.data_offset, f"{member} lies in another")
            end = member.data_offset + member.size
            require(end <= len(data), f"{member} is beyond the end")
    except TarError:
        return members, False
    return members, True


def compare(data: bytes, members: list[Member]) -> None:
    """Compare what was read without error with what `tarfile` finds, as far as that goes: it ends at some headers."""
    stopped = False
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            found = list(tar)
            stopped = _is_refused(data[tar.offset : tar.offset + BLOCK])
    except (tarfile.TarError, ValueError, OSError):
        return
    if any(data[info.offset_data - BLOCK + 156] == 0 and info.offset_data - info.offset > BLOCK for info in found):
        return  # Python asks the cut name of an old file, not the long one, whether it is a folder's (gh-141707)
    if any(_has_more_name(data, place) for info in found for place in range(info.offset, info.offset_data, BLOCK)):
        return  # Python reads a long name up to the end of its last block
    theirs = [info for info in found if info.isreg()]
    require(len(theirs) == len(members) or (stopped and len(theirs) < len(members)), f"tarfile has {theirs}")
    for info, member in zip(theirs, members, strict=False):
        require((info.offset_data, info.size) == (member.data_offset, member.size), f"tarfile has {info}")
        header = data[info.offset_data - BLOCK : info.offset_data]
        if header[257:263] == b"ustar\0" or not header[345]:  # tarfile takes the prefix field of others for a folder
            name = path_to_text(os.fsencode(info.name.partition("\0")[0])).rstrip("/")
            require(name == member.name.rstrip("/"), f"tarfile has {info}, here is {member}")


def _has_more_name(data: bytes, place: int) -> bool:
    """Tell whether bytes follow the GNU long name whose header may be at a place, in its last block."""
    if data[place + 156 : place + 157] != tarfile.GNUTYPE_LONGNAME:
        return False
    try:
        end = place + BLOCK + max(0, tarfile.nti(data[place + 124 : place + 136]))
    except tarfile.HeaderError:
        return False
    return any(data[end : end + -end % BLOCK])


def _is_refused(header: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:
        return False
    except tarfile.HeaderError:
        return True
    return False


TARGET = Target(make_seeds, check, mend, vary, most=1 << 14)
