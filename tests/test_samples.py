"""What a sample in a tar is: all our readers, and webdataset itself, find the same in the same tars."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pipeline import Outcome, run
from tars import Member, write_tar

from shardforge.cli import main
from shardforge.errors import DatasetError
from shardforge.loader.index import open_index
from shardforge.loader.index.dali import write_dali_index
from shardforge.loader.inputs import open_inputs
from shardforge.samples import SampleNotes, hash_keys, iter_samples, split_name
from shardforge.sources import open_source, parse_source
from shardforge.tarfiles import Member as TarMember
from shardforge.tarfiles import iter_members
from shardforge.verify.shard import ShardCheck, verify_shard

pytestmark = [pytest.mark.readers, pytest.mark.filterwarnings("ignore")]  # webdataset leaves files open

#: Key -> extension -> data, in order: what a reader finds in a tar.
Found = list[tuple[str, dict[str, bytes]]]

LINK, HARD_LINK, FOLDER = "link", "hard link", "folder"
LONG = "long/" + "n" * 150
PLAIN = [("a.jpg", b"A"), ("a.cls", b"0"), ("b.jpg", b"B"), ("b.cls", b"1")]

TARS: dict[str, list[Member]] = {
    "plain": PLAIN,
    "nothing": [],
    "sidecars of a Mac": [item for name, data in PLAIN for item in ((f"._{name}", b"\0\5\x16\7"), (name, data))],
    "sidecars and ./": [item for name, data in PLAIN for item in ((f"./._{name}", b"\0"), (f"./{name}", data))],
    "stray files between": [PLAIN[0], ("README", b"x"), ("Makefile", b""), PLAIN[1], (".DS_Store", b"x"), *PLAIN[2:]],
    "meta names": [("__meta__/info.json", b"{}"), PLAIN[0], ("__x__", b"1"), ("__a.b__", b"1"), *PLAIN[1:]],
    "names that begin as meta names do": [("__a__.jpg", b"A"), ("__a__.cls", b"2"), ("x/__m__/b.jpg", b"B")],
    "links and folders between": [
        *[("d", FOLDER), PLAIN[0], ("l.jpg", LINK), ("a.png", HARD_LINK), ("e/", FOLDER), PLAIN[1]],
        *[PLAIN[2], ("b.json", LINK), PLAIN[3]],
    ],
    "folders with dots": [("dir.x/1.jpg", b"A"), ("dir.x/1.cls", b"3"), ("a.b/c.jpg", b"B"), ("a.b/c.cls", b"4")],
    "one name in two folders": [("p/a.jpg", b"A"), ("p/a.cls", b"5"), ("q/a.jpg", b"B"), ("q/a.cls", b"6")],
    "names with dots": [("img.v2.jpg", b"A"), ("img.v2.cls", b"7"), ("a/b.c.jpg", b"B"), ("a/b.c.cls", b"8")],
    "numbers with a point": [("0.5.jpg", b"A"), ("0.7.jpg", b"B"), ("0.5.cls", b"1"), ("1.5.jpg", b"C")],
    "upper case": [("a.JPG", b"A"), ("a.Cls", b"9"), ("B.Jpeg", b"B"), ("B.CLS", b"10"), ("b.jpg", b"C")],
    "extensions alone": [(".jpg", b"A"), (".cls", b"1"), PLAIN[0], ("...", b""), ("..jpg", b""), PLAIN[1]],
    "an empty extension": [("a.", b"A"), ("a.jpg", b"B"), ("b.", b"")],
    "members apart": [PLAIN[0], PLAIN[2], PLAIN[1], PLAIN[3]],
    "a sample twice": [*PLAIN, *PLAIN[:2]],
    "no labels": [("a.jpg", b"A"), ("b.png", b"B")],
    "some labels": [PLAIN[0], *PLAIN[2:], ("c.webp", b"C")],
    "a label without an image": [*PLAIN, ("c.cls", b"3"), ("d.json", b"{}")],
    "labels as people write them": [("a.cls", b"3\n"), ("b.cls", b" 4 "), ("c.cls", b"+5"), ("d.cls", b"007")],
    "other members": [("a.jpg", b"A"), ("a.sci.txt", b"Aves"), ("a.pyd", b"x"), ("a.left.png", b"L"), ("a.cls", b"1")],
    "odd names": [("é ü.jpg", b"A"), ("é ü.cls", b"1"), ("a\nb.jpg", b"B"), ("a\nb.cls", b"2")],
    "long names": [(f"{LONG}.jpg", b"A"), (f"{LONG}.cls", b"1"), (f"{LONG}x.jpg", b"B"), (f"{LONG}x.cls", b"2")],
}
#: A sample has an extension twice: webdataset refuses the tar.
DOUBLED: dict[str, list[Member]] = {
    "a member twice": [*PLAIN[:2], PLAIN[0], *PLAIN[2:]],
    "two spellings": [PLAIN[0], ("a.JPG", b"B"), *PLAIN[2:]],
    "a label twice": [*PLAIN[:2], ("README", b""), ("a.cls", b"1"), *PLAIN[2:]],
}


def read_webdataset(tar: Path) -> Found:
    import webdataset

    samples = webdataset.WebDataset(str(tar), shardshuffle=False, empty_check=False)
    return [(sample["__key__"], {n: d for n, d in sample.items() if not n.startswith("__")}) for sample in samples]


def read_samples(tar: Path) -> Found:
    data = tar.read_bytes()
    return [
        (key, {extension: data[m.data_offset : m.data_offset + m.size] for extension, m in members})
        for key, members in iter_samples(iter_members(data, odd=True))
    ]


def read_loader(tar: Path) -> tuple[Found, list[int | None]]:
    """Return the samples of the loader's index, and its labels."""
    index = open_index([open_inputs([str(tar)])])
    found: Found = []
    for number in range(index.samples):
        members = {}
        for extension in index.extensions:
            shard, offset, size = (int(column[0]) for column in index.locate(np.array([number]), extension))
            if offset:
                members[extension] = index.reader.read(shard, offset, size)
        found.append((index.key(number), members))
    return found, [label if label >= 0 else None for label in index.labels.tolist()]


def read_dali(tar: Path) -> list[dict[str, bytes]]:
    """Return what the lines of DALI's index name, whose names have no spaces."""
    data = tar.read_bytes()
    count, *lines = write_dali_index(str(tar)).read_text().splitlines()
    assert count == f"v1.2 {len(lines)}"
    words = [line.split(" ") for line in lines]
    return [
        {line[i]: data[int(line[i + 1]) : int(line[i + 1]) + int(line[i + 2])] for i in range(0, len(line), 4)}
        for line in words
    ]


def invoke(*arguments: object) -> Outcome:
    """Run a command, whatever its exit code."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def map_tar(tar: Path) -> list[dict[str, Any]]:
    """Return the rows of `map`."""
    source = open_source(parse_source(f"a=wds:{tar}"))
    return list(itertools.chain.from_iterable(table.to_pylist() for table in source.list()))


@pytest.mark.parametrize("format", ["gnu", "pax"])
@pytest.mark.parametrize("name", TARS)
def test_all_readers_find_what_webdataset_finds(tmp_path: Path, name: str, format: str) -> None:
    tar = write_tar(tmp_path / "a.tar", TARS[name], format)
    expected = read_webdataset(tar)
    assert read_samples(tar) == expected
    assert read_loader(tar) == (
        expected,
        [int(members["cls"]) if "cls" in members else None for _, members in expected],
    )
    if name not in ("odd names", "an empty extension"):
        assert read_dali(tar) == [members for _, members in expected]
    found = verify_shard(ShardCheck(str(tar), "a.tar", "decode"))
    assert found.samples == len(expected)
    assert found.keys.tolist() == hash_keys(key for key, _ in expected).tolist()
    assert list_images(tar) == Counter(
        (key, extension, members["cls"].decode().strip() if "cls" in members else None)
        for key, members in expected
        for extension in members
        if extension.rpartition(".")[2] in ("jpg", "jpeg", "png", "webp")
    )


def list_images(tar: Path) -> Counter[tuple[str, str, str | None]]:
    """Return key, extension and label of each image that `map` lists."""
    rows = [row for row in map_tar(tar) if row["reason"] not in ("link", "empty_file")]
    return Counter((*split_name(row["path"].partition("::")[2]), row["label"]) for row in rows)


@pytest.mark.parametrize("name", ["odd names", "an empty extension"])
def test_names_that_the_format_of_dali_cannot_hold_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=r"a\.tar: cannot be indexed for DALI .* has (a space|no extension)"):
        read_dali(write_tar(tmp_path / "a.tar", TARS[name]))


def test_hidden_files_in_folders_part_no_sample_as_they_do_for_webdataset(tmp_path: Path) -> None:
    clean = [(f"t/{name}", data) for name, data in PLAIN]
    sidecars = [item for name, data in clean for item in ((f"t/._{name[2:]}", b"\0\5\x16\7"), (name, data))]
    tar = write_tar(tmp_path / "mac.tar", sidecars)
    expected = read_webdataset(write_tar(tmp_path / "clean.tar", clean))
    assert read_webdataset(tar) != expected
    assert read_samples(tar) == read_loader(tar)[0] == expected
    assert list_images(tar) == {("t/a", "jpg", "0"): 1, ("t/b", "jpg", "1"): 1}
    told = run("verify", "--shardlist", tar, "--level", "decode", "--workers", 0, code=1).stderr  # no real images
    assert "hidden files in folders: 4, such as" in told
    assert not [line for line in told.splitlines() if "[" in line and "image_undecodable" not in line]


@pytest.mark.parametrize("name", DOUBLED)
def test_an_extension_twice_is_refused_by_readers_and_told_by_map(tmp_path: Path, name: str) -> None:
    tar = write_tar(tmp_path / "a.tar", DOUBLED[name])
    with pytest.raises(ValueError, match="duplicate file name in tar file"):
        read_webdataset(tar)
    with pytest.raises(DatasetError, match="sample a has two members"):
        read_loader(tar)
    assert "[member_duplicate]" in run("verify", "--shardlist", tar, "--workers", 0, code=1).stderr
    expected = {
        "a member twice": [("a.jpg", None, "0"), ("a.jpg", None, "0")],
        "two spellings": [("a.jpg", None, None), ("a.JPG", None, None)],
        "a label twice": [("a.jpg", "bad_sample", None)],
    }
    found = [(row["path"].partition("::")[2], row["reason"], row["label"]) for row in map_tar(tar)]
    assert found == [*expected[name], ("b.jpg", None, "1")]


def passed_over(name: str) -> bool:
    """Tell whether webdataset's `tar_file_iterator` skips a name."""
    alone = "/" not in name and name.startswith("__") and name.endswith("__")
    return alone or re.match(r"__[^/]*__($|/)", name) is not None


@given(st.text("a._/J", max_size=9))
def test_names_are_split_as_webdataset_splits_them(name: str) -> None:
    from webdataset.tariterators import base_plus_ext

    key, extension = (None, "") if passed_over(name) else base_plus_ext(name)
    ours = split_name(name)
    notes = SampleNotes()
    notes.add_stray("a.tar", TarMember(name, 0, 0, 0))
    if ours == ("", "") and key is not None:  # a hidden file in a folder, of which webdataset makes a sample
        assert name.rpartition("/")[2].startswith(".")
        assert notes.counts["hidden"]
    else:
        assert ours == ((key, extension.lower()) if key is not None else ("", ""))
        assert not notes.counts["hidden"]


#: What is odd -> members, and what `map`, `verify` and `index` say of it; None where a command has nothing to say.
ODD: dict[str, tuple[list[Member], list[str | None]]] = {
    "apart": (TARS["members apart"], ["keys that stand in several places of one tar: 2, such as"] * 3),
    "dots": (TARS["names with dots"], ["2 of 2 samples have dots in the names of their images or labels, such as"] * 3),
    "dots in labels": ([*PLAIN, ("c.jpg", b"C"), ("c.d.cls", b"1")], ["1 of 3 samples have dots in the names"] * 3),
    "some labels": (
        TARS["some labels"],
        ["2 of 3 images have no label, such as a.tar::a.jpg", *["2 of 3 samples have no .cls; that is good"] * 2],
    ),
    "no image": (TARS["a label without an image"], ["2 of 4 samples have no image, such as"] * 3),
    "no number": (
        [*PLAIN, ("c.jpg", b"C"), ("c.cls", b"cat")],
        [None, "[label_range]", "1 of 3 samples have a .cls that is no class number, such as"],
    ),
    "labels that are hidden": (
        [*PLAIN, (".c.cls", b"1"), ("__m__/c.jpg", b"")],
        [*["images or labels that belong to no sample: 2, such as"] * 2, None],
    ),
    "links": (
        [*PLAIN, ("c.cls", LINK), ("c.jpg", HARD_LINK)],
        ["links in place of images or labels: 1, such as a.tar: c.cls", "links in place of images or labels: 2", None],
    ),
    "an empty label": (
        [*PLAIN, ("c.jpg", b"C"), ("c.cls", b"")],
        ["1 of 3 images have no label", "[label_range]", "1 of 3 samples have a .cls that is no class number"],
    ),
    "an image twice": (DOUBLED["two spellings"], ["1 of 2 samples have two members with one extension"] * 2 + [None]),
    "no labels": (TARS["no labels"], [None, None, None]),
    "plain": (TARS["plain"], [None, None, None]),
    "texts with dots": ([*PLAIN, ("b.sci.txt", b"Aves")], [None, None, None]),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_told_with_a_count_and_an_example(tmp_path: Path, name: str, photos: Path) -> None:
    members, expected = ODD[name]
    real = (photos / "Ara_macao_1.webp").read_bytes()
    tar = write_tar(tmp_path / "a.tar", [(n, real if d in (b"A", b"B", b"C") else d) for n, d in members])
    commands = [
        ("map", "--db", tmp_path / "m.sqlite", "--source", f"a=wds:{tar}", "--workers", 0),
        ("verify", "--shardlist", tar, "--workers", 0),
        ("index", tar),
    ]
    for command, text in zip(commands, expected, strict=True):
        told = invoke(*command, "--json")
        notes = [line for line in told.stderr.splitlines() if line.startswith("Note: ")]
        found = json.loads(told.stdout) if told.stdout else {"notes": []}
        stored = found["sources"]["a"]["notes"] if command[0] == "map" else found["notes"]
        assert [note["text"] in line for note, line in zip(stored, notes, strict=True)] == [True] * len(notes)
        assert all(note["count"] > 0 and note["example"] in note["text"] for note in stored)
        if text is None:
            assert not [line for line in notes if "no image" not in line], command
        else:
            problems = [f"[{problem['code']}]" for problem in found.get("problems", [])]
            assert any(text in line for line in [*notes, *problems]), (command, told.stderr)
