"""Hostile and damaged tars: an odd member costs its row, damage the rest of its tar; nothing else is touched."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
from archives import END, file, header, list_all, little_memory, pack, pax, write_tar
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import run

from shardforge.braces import expand_braces
from shardforge.errors import ShardforgeError, UsageError
from shardforge.loader.dataset import ShardDataset
from shardforge.sources.reading import read_record
from shardforge.tarfiles import Member, TarError, iter_members

_HUGE = 8 << 30

A, B, LABEL = file("a.jpg", b"A"), file("b.jpg", b"B"), file("a.cls", b"0")

#: Tars -> the reason of each row of theirs, by member, "" for the tar itself. All begin with a.jpg and end with b.jpg.
TARS: dict[str, tuple[bytes, dict[str, str | None]]] = {
    "a number of 6,000 digits": (pax(b"6000 size=" + b"9" * 5989 + b"\n"), {"": "corrupt"}),
    "a size of 2^62": (pax(b"size=%d" % (1 << 62)), {"": "truncated"}),
    "a size of 2^63": (pax(b"size=%d" % (1 << 63)), {"": "truncated"}),
    "a negative size": (pax(b"size=-1"), {"": "corrupt"}),
    "no size": (pax(b"size="), {"": "corrupt"}),
    "devices and a pipe": (
        b"".join(header(f"{kind}.jpg", 0, b"%d" % kind) for kind in (3, 4, 6)),
        {**{f"{kind}.jpg": "not_an_image" for kind in (3, 4, 6)}, "b.jpg": None},
    ),
    "a record that is cut": (pax(b"30 path=x"), {"": "corrupt"}),
    "a record without a key": (pax(b"8 path\n\n"), {"": "corrupt"}),
    "a record of no length": (pax(b"0 a=b\n"), {"": "corrupt"}),
    "a record longer than the header": (pax(b"9999999999999999 a=b\n"), {"": "corrupt"}),
    "1 MB of tiny records": (pax(b"5 a=\n" * 200_000), {"b.jpg": None}),
    "a PAX header of 8 MB": (pax(b"5 a=\n" * 1_600_000), {"": "corrupt"}),
    "a PAX header that pads with zeros": (file("x", b"14 path=c.jpg\n\0\0", b"x"), {"c.jpg": None}),
    "a zero byte in a path": (pax(b"path=c.jpg\0.txt"), {"": "corrupt"}),
    "zero bytes behind a path": (pax(b"path=c.jpg\0\0"), {"c.jpg": None}),
    "a path for all": (file("g", b"14 path=c.jpg\n", b"g"), {"": "corrupt"}),
    "two extensions of one member": (pax(b"size=1") + file("L", b"c.jpg\0", b"L"), {"c.jpg": None}),
    "a long name of 70 kB": (file("L", b"d" * 70_000 + b".jpg", b"L"), {"": "corrupt"}),
    "a zero byte in a long name": (file("L", b"c.jpg\0.txt\0", b"L"), {"c.jpg": None}),
    "a size in base 256": (
        header("c.jpg", b"\x80" + bytes(10) + b"\1") + b"C" + bytes(511),
        {"c.jpg": None, "b.jpg": None},
    ),
    "2^62 in base 256": (header("c.jpg", b"\x80\0\0\0" + (1 << 62).to_bytes(8)), {"": "truncated"}),
    "a negative number in base 256": (header("c.jpg", b"\xff" * 12), {"": "corrupt"}),
    "a sparse member": (file("c.jpg", b"C", b"S"), {"c.jpg": "compressed", "b.jpg": None}),
    "a sparse member of many holes": (
        header("c.jpg", 1, b"S", at_482=b"\1") + bytes(504) + b"\1" + bytes(7) + bytes(1024),
        {"c.jpg": "compressed", "b.jpg": None},
    ),
    "a sparse member of PAX": (
        pax(b"GNU.sparse.major=1", b"GNU.sparse.name=c.jpg") + file("GNUSparseFile.1/c.jpg", b"1\n0\n1\n"),
        {"c.jpg": "compressed", "b.jpg": None},
    ),
    "a type of nobody": (file("c.jpg", b"C", b"Z"), {"c.jpg": "compressed", "b.jpg": None}),
    "a volume label": (header("backup", 0, b"V"), {"b.jpg": None}),
    "a symbolic link": (header("c.jpg", 0, b"2"), {"c.jpg": "link", "b.jpg": None}),
    "a hard link that says a size": (header("c.jpg", 999, b"1"), {"c.jpg": "link", "b.jpg": None}),
    "a link that is no image": (header("c.txt", 0, b"2"), {"b.jpg": None}),
    "a folder as of old": (header("c.jpg/", 0, b"\0"), {"b.jpg": None}),
    "a wrong checksum": (bytes(header("c.jpg", 0))[:148] + b"0000000\0" + bytes(356), {"": "corrupt"}),
    "an end mark": (END, {"": "corrupt"}),
    "a tar in it": (file("c.tar", pack([("x.jpg", b"x")])), {"b.jpg": None}),
    "a member twice": (A, {"b.jpg": None}),
    "a label beyond the classes": (file("c.jpg", b"C") + file("c.cls", b"3"), {"c.jpg": "bad_sample", "b.jpg": None}),
    "a label twice": (file("c.jpg", b"C") + 2 * file("c.cls", b"0"), {"c.jpg": "bad_sample", "b.jpg": None}),
    "a label of 70 kB": (file("c.jpg", b"C") + file("c.cls", b"0" * 70_000), {"c.jpg": "too_costly", "b.jpg": None}),
    "a label that is no text": (file("c.jpg", b"C") + file("c.cls", b"\xff"), {"c.jpg": "bad_sample", "b.jpg": None}),
    "a .json of numbers": (file("c.jpg", b"C") + file("c.json", b"9" * 5000), {"c.jpg": "bad_sample", "b.jpg": None}),
    "a .json of brackets": (file("c.jpg", b"C") + file("c.json", b"[" * 9999), {"c.jpg": "bad_sample", "b.jpg": None}),
    "names that lead outside": (
        file("../c.jpg", b"C") + file("/etc/d.jpg", b"D") + pax(b"path=../../e.tar::f.jpg") + file("x", b"E"),
        {"../c.jpg": None, "/etc/d.jpg": None, "../../e.tar::f.jpg": None, "b.jpg": None},
    ),
}


@pytest.mark.parametrize("name", TARS)
def test_an_odd_member_of_a_tar_costs_its_row(tmp_path: Path, name: str) -> None:
    content, expected = TARS[name]
    (tmp_path / "classes.txt").write_text("one\n")
    (tmp_path / "odd.tar").write_bytes(A + LABEL + content + B + END)
    write_tar(tmp_path / "whole.tar", [("a.jpg", b"A"), ("a.cls", b"0")])
    rows = list_all(f"a=wds:{tmp_path}")
    found = [(row["path"].partition("::")[::2], row["reason"]) for row in rows]
    assert (("odd.tar", "a.jpg"), None) in found
    assert found[-1] == (("whole.tar", "a.jpg"), None)
    assert {row["label"] for row in rows if row["path"].endswith("::a.jpg")} == {"one"}
    assert {member: reason for (_, member), reason in found if member != "a.jpg"} == expected
    assert all(row["note"] for row in rows if row["reason"] not in (None, "link", "compressed", "not_an_image"))
    root = str(tmp_path)
    for row in rows:
        if row["reason"] is None:
            data = read_record(root, row["path"], row["offset"], row["bytes"], row["mtime"])
            assert data in (b"A", b"B", b"C", b"D", b"E")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"x", "truncated"),
        (A[:700], "truncated"),
        (b"a.jpg" + bytes(507), "corrupt"),
        (END, None),
        (gzip.compress(A + END, mtime=0), "compressed"),
        (bz2.compress(A + END), "compressed"),
        (lzma.compress(A + END), "compressed"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed"),
        (b"\xff\xd8\xff" + bytes(600), "corrupt"),
    ],
)
def test_a_file_that_is_no_tar_is_a_row(tmp_path: Path, content: bytes, reason: str | None) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    rows = list_all(f"a=wds:{tmp_path}")
    assert [(row["path"], row["reason"]) for row in rows] == ([("a.tar", reason)] if reason else [])


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.TAR.GZ", "a.tar.bz2", "a.tar.xz", "a.tar.zst", "a.tar"])
def test_a_compressed_tar_is_called_so_with_how_to_unpack_it(tmp_path: Path, name: str) -> None:
    tar = tmp_path / "g" / name
    tar.parent.mkdir()
    tar.write_bytes(gzip.compress(A + LABEL + END))
    program = {"bz2": "bzip2", "xz": "xz", "zst": "zstd"}.get(name.rpartition(".")[2], "gzip")
    named = tar.suffix != ".tar"  # where the name does not say it, its content does
    commands: list[tuple[list[object], int]] = [
        (["map", "--db", tmp_path / "m.sqlite", "--source", f"a=wds:{tar.parent}", "--workers", 0], 0),
        (["map", "--db", tmp_path / "n.sqlite", "--source", f"a=wds:{tar}", "--workers", 0], 2 if named else 0),
        (["map", "--db", tmp_path / "o.sqlite", "--source", f"a=eol:{tar}", "--workers", 0], 2 if named else 0),
        (["verify", "--shardlist", tar, "--workers", 0], 1),
        (["verify", "--shardlist", tar.parent, "--workers", 0], 1),
        (["index", tar], 2 if named else 1),
        (["index", tar.parent], 2 if named else 1),
        (["bench-loader", tar], 2 if named else 1),
    ]
    for command, code in commands:
        told = run(*command, code=code)
        if "eol" not in str(command) or named:
            assert f"is compressed ({program}), so its members cannot be read in place" in told.stderr, command
            assert f"`{program} -dc FILE > NAME.tar`" in told.stderr
    with pytest.raises(ShardforgeError, match=rf"is compressed \({program}\)"):
        ShardDataset(tar)
    with pytest.raises(ShardforgeError, match=rf"is compressed \({program}\)"):
        ShardDataset(f"{tar.parent}/{{a,a}}{name[1:]}")


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tars with members of 8 GB, which take no room on disk, and a whole one."""
    folder = tmp_path_factory.mktemp("sparse")
    size = b"\x80\0\0\0" + _HUGE.to_bytes(8)
    odd = {
        **{f"{suffix}.tar": header(f"a.{suffix}", size) for suffix in ("json", "cls", "txt")},
        "name.tar": header("L", size, b"L"),
        "link.tar": header("K", size, b"K"),
        "pax.tar": header("x", size, b"x"),
    }
    for name, head in odd.items():
        with open(folder / name, "wb") as tar:
            tar.write(A + head)
            tar.seek(_HUGE, os.SEEK_CUR)
            tar.write(B + END)
    write_tar(folder / "whole.tar", [("a.jpg", b"A"), ("a.cls", b"0")])
    return folder


def test_no_reader_of_tars_allocates_by_what_a_file_says(sparse: Path) -> None:
    with little_memory():
        rows = list_all(f"a=wds:{sparse}")
    found = {row["path"]: row["reason"] for row in rows}
    assert found == {
        **{f"{suffix}.tar::a.jpg": "too_costly" for suffix in ("json", "cls", "txt")},
        **{f"{suffix}.tar::b.jpg": None for suffix in ("json", "cls", "txt", "link")},
        **{f"{name}.tar::a.jpg": None for name in ("name", "pax", "link", "whole")},
        "name.tar": "corrupt",
        "pax.tar": "corrupt",
    }


_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
from shardforge.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["map", "verify", "index"])
def test_commands_need_little_for_tars_that_say_much(sparse: Path, tmp_path: Path, command: str) -> None:
    """Each command with 3 GB of address space, two minutes of CPU, and tars that say 8 GB."""
    tar = sparse / "json.tar"
    arguments = {
        "map": ["--db", tmp_path / "m.sqlite", "--source", f"a=wds:{sparse}", "--workers", "0"],
        "verify": ["--shardlist", sparse, "--workers", "0"],
        "index": [tar, "--workers", "0", "--dali"],
    }
    call = [sys.executable, "-c", _LIMITED, command, *map(str, arguments[command])]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    if command == "map":
        assert done.returncode == 0, done.stderr
    elif command == "verify":
        assert "json.tar: a.json: a member has more bytes than any reader takes" in done.stderr
        assert (
            "name.tar: a tar header is damaged: found the extension header at byte 1024 has 8589934592" in done.stderr
        )
    else:
        assert "a member of 4 GiB or more" in done.stderr


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_a_tar_holds_its_reader_ends_with_a_sentence(data: st.DataObject) -> None:
    """Members by a grammar of headers, then bytes changed anywhere: all that comes out is members and a TarError."""
    kinds = st.sampled_from([b"0", b"\0", b"7", b"1", b"2", b"5", b"x", b"g", b"L", b"K", b"S", b"Z", b"X"])
    sizes = st.one_of(
        st.integers(0, 1100),
        st.sampled_from([b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-1", b"99999999999", b"7" * 12, b"", b"1\0junk"]),
    )
    records = st.sampled_from(
        [b"12 size=700\n", b"9 path=a\n", b"5 a=\n", b"x", b"99 a=b\n", b"22 GNU.sparse.major=1\n"]
    )
    raw = bytearray()
    for _ in range(data.draw(st.integers(0, 5))):
        raw += header(data.draw(st.sampled_from(["a.jpg", "b.cls", ".", "d/"])), data.draw(sizes), data.draw(kinds))
        raw += b"".join(data.draw(st.lists(records, max_size=3))).ljust(512 * data.draw(st.integers(0, 2)), b"\0")
        raw += bytes(-len(raw) % 512)
    raw += data.draw(st.sampled_from([END, b"", bytes(512), b"x"]))
    for _ in range(data.draw(st.integers(0, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for odd in (False, True):
        members: list[Member] = []
        with contextlib.suppress(TarError):
            members.extend(iter_members(bytes(raw), odd=odd))
        assert all(0 <= m.data_offset <= m.data_offset + m.size <= len(raw) for m in members)
        assert [m for m in members if m.reason] == [] or odd


@pytest.mark.parametrize(
    "pattern",
    [
        "{000000..999999}" * 20,
        "{0..999999}{0..999999}",
        "{a,b}" * 30_000,
        "x" * 1000 + "{000000..999999}",
        "{1..2}" * 9_000,
    ],
)
def test_braces_that_stand_for_too_much_are_refused_before_a_name_is_made(pattern: str) -> None:
    with little_memory(), pytest.raises(UsageError, match="one pattern may stand for 1,000,000") as caught:
        expand_braces(pattern)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["{" * 100_000, "{" + "," * 100_000, "{" + "a,{" * 50_000, "{1.." * 50_000])
def test_braces_that_do_not_close_are_read_in_linear_time(text: str) -> None:
    assert expand_braces(text) == [text]
