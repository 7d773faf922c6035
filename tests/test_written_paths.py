"""Paths as people write them: of Windows, spelled in several ways, listed twice, or none at all."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline import Outcome, run
from test_exclusions import split
from test_sources import list_all, write_tar

from shardforge.mapping import open_mapping
from shardforge.paths import make_key, path_to_text
from shardforge.sources.written_paths import are_odd, plain_path
from shardforge.splits.exclusion_lists import parse_list

ENGINES = pytest.mark.parametrize("suffix", ["duckdb", "sqlite"])


@pytest.fixture
def place(image_tree: Path) -> Path:
    """Return a folder with img/0.jpg, img/sub/1.jpg and a.jpg, whose contents differ."""
    root = image_tree.parent / "place"
    (root / "img" / "sub").mkdir(parents=True)
    images = sorted(image_tree.rglob("*.jpg"))
    for path, image in zip(("img/0.jpg", "img/sub/1.jpg", "a.jpg", "b.jpg"), images, strict=False):
        (root / path).write_bytes(image.read_bytes())
    return root


def write_paths(root: Path, kind: str, rows: list[tuple[str, str]]) -> str:
    """Write a file of the kind that lists paths with their labels; return the source."""
    if kind == "openmmlab":
        classes = sorted({label for _, label in rows})
        entries = [{"img_path": path, "gt_label": classes.index(label)} for path, label in rows]
        file = root / "t.json"
        file.write_text(json.dumps({"metainfo": {"classes": classes}, "data_list": entries}))
    elif kind == "list":
        file = root / "t.txt"
        file.write_text("".join(f"{path}\t{label}\n" for path, label in rows))
    elif kind == "jsonl":
        file = root / "t.jsonl"
        file.write_text("".join(json.dumps({"path": path, "label": label}) + "\n" for path, label in rows))
    elif kind == "inat21":
        file = root / "t.json"
        names = sorted({label for _, label in rows})
        file.write_text(
            json.dumps(
                {
                    "images": [{"id": i, "file_name": path} for i, (path, _) in enumerate(rows)],
                    "annotations": [{"image_id": i, "category_id": names.index(row[1])} for i, row in enumerate(rows)],
                    "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
                }
            )
        )
    else:
        separator = "," if kind == "csv" else "\t"
        file = root / f"t.{kind}"
        file.write_text("".join(f"{separator.join(row)}\n" for row in [("path", "label"), *rows]))
    return f"a={kind if kind in ('list', 'openmmlab', 'inat21') else 'table'}:{file}"


def scan(*arguments: object, code: int = 0) -> Outcome:
    return run("map", *arguments, "--workers", 0, code=code)


KINDS = ("csv", "tsv", "jsonl", "list", "openmmlab", "inat21")


def mapped(db: Path) -> dict[str, tuple[Any, ...]]:
    """Return path -> label, reason and note."""
    with open_mapping(db) as mapping:
        rows = mapping.rows(
            "SELECT i.path, i.label, i.reason, n.note FROM images AS i LEFT JOIN notes AS n ON n.key = i.key"
        )
    return {path: tuple(said) for path, *said in rows}


# Windows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("img\\0.jpg", "img/0.jpg"),
        (".\\img\\0.jpg", "img/0.jpg"),
        ("img\\sub/1.jpg", "img/sub/1.jpg"),
        ("img\\sub\\..\\0.jpg", "img/sub/../0.jpg"),
        ("img\\gone\\..\\0.jpg", "img/0.jpg"),
        ("img\\\\0.jpg", "img//0.jpg"),
    ],
)
def test_paths_of_windows_are_read(kind: str, written: str, path: str, place: Path) -> None:
    [row] = list_all(write_paths(place, kind, [(written, "x")]))
    assert (row["path"], row["reason"], row["key"]) == (path, None, make_key("a", path))


def test_a_file_whose_name_holds_a_backslash_is_itself(place: Path) -> None:
    (place / "img\\0.jpg").write_bytes(b"another")
    rows = list_all(write_paths(place, "csv", [("img\\0.jpg", "x"), ("img\\sub\\1.jpg", "y")]))
    assert [row["path"] for row in rows] == [path_to_text("img\\0.jpg"), "img/sub/1.jpg"]
    assert rows[0]["bytes"] == len(b"another")


@pytest.mark.parametrize("prefix", ["img\\", ".\\img", "img/"])
def test_a_prefix_may_be_of_windows(prefix: str, place: Path) -> None:
    source = write_paths(place, "openmmlab", [("0.jpg", "x"), ("sub\\1.jpg", "x")])
    assert [row["path"] for row in list_all(source, prefix=prefix)] == ["img/0.jpg", "img/sub/1.jpg"]


@pytest.mark.parametrize("kind", ["csv", "list", "openmmlab"])
@pytest.mark.parametrize("written", ["C:\\photos\\0.jpg", "d:/photos/0.jpg", "\\\\server\\photos\\0.jpg"])
def test_a_disk_of_windows_is_told(kind: str, written: str, place: Path, tmp_path: Path) -> None:
    db = tmp_path / "m.sqlite"
    source = write_paths(place, kind, [(written, "x"), ("a.jpg", "x")])
    done = scan("--db", db, "--source", source)
    assert f"paths that name a disk of Windows, with backslashes: 1, such as {written}; write them from" in done.stderr
    assert {reason for _, reason, _ in mapped(db).values()} == {None, "vanished"}
    source = write_paths(place, kind, [(written, "x"), (f"{written}.jpg", "x")])
    refused = scan("--db", tmp_path / "other.sqlite", "--source", source, code=1)
    assert f"has only paths that name a disk of Windows, with backslashes, such as {written}" in refused.stderr


@pytest.mark.parametrize("kind", ["csv", "list", "openmmlab"])
@pytest.mark.parametrize("written", ["https://x.org/a/0.jpg", "s3://bucket/0.jpg", "HTTP://x.org/0.jpg?size=large"])
def test_urls_are_told(kind: str, written: str, place: Path, tmp_path: Path) -> None:
    db = tmp_path / "m.sqlite"
    done = scan("--db", db, "--source", write_paths(place, kind, [(written, "x"), ("a.jpg", "x")]))
    assert f"paths that are URLs: 1, such as {written}; download the images first" in done.stderr
    source = write_paths(place, kind, [(written, "x"), (f"{written}.jpg", "x")])
    refused = scan("--db", tmp_path / "other.sqlite", "--source", source, code=1)
    assert (
        f"has only paths that are URLs, such as {written}; download the images first, and name the files"
        in refused.stderr
    )
    assert not (tmp_path / "other.sqlite").exists()


# One path, one record


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """Return a plain path and another spelling of it."""
    parts = draw(st.lists(st.sampled_from(["a", "b.jpg", ".c", "d..e", "...", "é"]), min_size=1, max_size=4))
    plain = "/".join(parts)
    noisy = [draw(st.sampled_from(["", "./", "/", "x/../", ".//"])) + part for part in parts]
    return plain, "/".join(noisy).lstrip("/")


@given(spellings(), st.sampled_from(["", "t.tar::", "x/t.zip::"]))
def test_every_spelling_has_one_plain_form(spelled: tuple[str, str], archive: str) -> None:
    plain, noisy = (archive + path for path in spelled)
    assert plain_path(noisy) == plain_path(plain) == plain
    assert noisy == plain or are_odd([noisy])[0].as_py()


@pytest.mark.parametrize(
    ("suffix", "kind", "others"),
    [
        *((suffix, "csv", ["x/../a.jpg", ".//a.jpg", "img/../a.jpg"]) for suffix in ("duckdb", "sqlite")),
        *(("sqlite", kind, ["a.jpg"]) for kind in KINDS if kind != "inat21"),  # there, ids of images differ, too
        *(("sqlite", kind, ["./a.jpg", "img//../a.jpg"]) for kind in ("list", "openmmlab")),
        ("duckdb", "list", ["ROOT/a.jpg", "ROOT//./a.jpg"]),
        ("sqlite", "tsv", [".\\a.jpg"]),
    ],
)
def test_rows_of_one_path_are_one_record(
    suffix: str, kind: str, others: list[str], place: Path, tmp_path: Path
) -> None:
    paths = [path.replace("ROOT", str(place)) for path in ("b.jpg", *others, "a.jpg")]
    source, db = write_paths(place, kind, [(path, "x") for path in paths]), tmp_path / f"m.{suffix}"
    done = scan("--db", db, "--source", source)
    assert mapped(db) == {"a.jpg": ("x", None, None), "b.jpg": ("x", None, None)}
    assert f"rows that say again what others say of their image: {len(others)}, such as" in done.stderr
    counts = json.loads(scan("--db", db, "--json").stdout)["sources"]["a"]
    assert (counts["listed"], counts["unchanged"], counts["usable"]) == (2, 2, 2)
    write_paths(
        place, kind, [(path, "x" if path in ("a.jpg", "b.jpg") and i != 1 else "y") for i, path in enumerate(paths)]
    )
    done = scan("--db", db, "--source", source)
    note = f"listed {len(others) + 1} times, with different label"
    assert {path: said[1:] for path, said in mapped(db).items()} == {"a.jpg": ("twice", note), "b.jpg": (None, None)}
    assert "images that are listed several times, with differences: 1, such as a.jpg" in done.stderr
    scan("--db", db, "--source", write_paths(place, kind, [("a.jpg", "x"), ("b.jpg", "x")]))
    assert mapped(db) == {"a.jpg": ("x", None, None), "b.jpg": ("x", None, None)}


@ENGINES
def test_a_path_that_is_spelled_oddly_once_keeps_its_key(suffix: str, place: Path, tmp_path: Path) -> None:
    db = tmp_path / f"m.{suffix}"
    scan("--db", db, "--source", write_paths(place, "csv", [("img//0.jpg", "x"), ("img/./sub/1.jpg", "y")]))
    with open_mapping(db) as mapping:
        keys = dict(mapping.rows("SELECT path, key FROM images"))
    assert keys == {path: make_key("a", path) for path in ("img//0.jpg", "img/./sub/1.jpg")}


@ENGINES
def test_parents_behind_a_link_lead_elsewhere(suffix: str, place: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "far" / "a.jpg").write_bytes((place / "b.jpg").read_bytes())
    (place / "link").symlink_to(tmp_path / "far" / "away")
    db = tmp_path / f"m.{suffix}"
    scan("--db", db, "--source", write_paths(place, "csv", [("a.jpg", "x"), ("link/../a.jpg", "y")]))
    assert mapped(db) == {"a.jpg": ("x", None, None), "link/../a.jpg": ("y", None, None)}


def tar_of(place: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(place, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@ENGINES
@pytest.mark.parametrize("kind", ["wds", "eol"])
def test_members_of_one_path_are_one_record(suffix: str, kind: str, place: Path, tmp_path: Path) -> None:
    one, other = ((place / name).read_bytes() for name in ("a.jpg", "b.jpg"))
    root = tmp_path / "tars"
    root.mkdir()
    name = "1_2_eol.jpg"
    tar_of(root / "a.tar", [(f"./{name}", one), ("3_4_eol.jpg", other), (f"x/../{name}", one)])
    tar_of(root / "b.tar", [(f"./{name}", one)])
    db = tmp_path / f"m.{suffix}"
    scan("--db", db, "--source", f"a={kind}:{root}")
    found = {path: (reason, note) for path, (_, reason, note) in mapped(db).items()}
    assert found == {
        f"a.tar::./{name}": ("twice", "listed 2 times, with different offset"),
        "a.tar::3_4_eol.jpg": (None, None),
        f"b.tar::./{name}": (None, None),
    }


def test_a_tar_whose_members_begin_with_a_dot_keeps_its_keys(place: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "t" / "a.tar", {f"./{i}.jpg": (place / "a.jpg").read_bytes() for i in range(3)})
    db = tmp_path / "m.sqlite"
    scan("--db", db, "--source", f"a=wds:{tmp_path}/t")
    assert set(mapped(db)) == {f"a.tar::./{i}.jpg" for i in range(3)}


# Rows without a path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'path,label\na.jpg,x\n"",\n,\n'),
        ("t.jsonl", '{"path":"a.jpg","label":"x"}\n{"path":null}\n{}\n'),
    ],
)
def test_rows_without_anything_are_rows(name: str, text: str, place: Path, tmp_path: Path) -> None:
    (place / name).write_text(text)
    db = tmp_path / "m.sqlite"
    scan("--db", db, "--source", f"a=table:{place / name}")
    assert {path: reason for path, (_, reason, _) in mapped(db).items()} == {
        "a.jpg": None,
        f"{name}::row 2": "misnamed",
        f"{name}::row 3": "misnamed",
    }


@ENGINES
@pytest.mark.parametrize("kind", ["csv", "jsonl", "openmmlab"])
def test_a_row_without_a_path_is_a_row_until_it_is_mended(suffix: str, kind: str, place: Path, tmp_path: Path) -> None:
    db = tmp_path / f"m.{suffix}"
    source = write_paths(place, kind, [("a.jpg", "x"), ("", "y"), ("b.jpg", "z")])
    entry = "data_list[1]" if kind == "openmmlab" else "row 2"
    file = Path(source.partition(":")[2]).name
    for _ in range(2):
        scan("--db", db, "--source", source)
        assert mapped(db) == {
            "a.jpg": ("x", None, None),
            "b.jpg": ("z", None, None),
            f"{file}::{entry}": (None, "misnamed", f"{entry} of {file} names no image"),
        }
    scan("--db", db, "--source", write_paths(place, kind, [("a.jpg", "x"), ("img/0.jpg", "y"), ("b.jpg", "z")]))
    assert {path: said[1] for path, said in mapped(db).items()} == {"a.jpg": None, "b.jpg": None, "img/0.jpg": None}
    with open_mapping(db) as mapping:
        assert mapping.rows("SELECT * FROM notes") == []


def test_rows_that_are_empty_throughout_are_no_rows(place: Path) -> None:
    (place / "t.csv").write_text("path,label\na.jpg,x\n,\n,\nb.jpg,y\n")
    assert [row["path"] for row in list_all(f"a=table:{place}/t.csv") if row["reason"] is None] == ["a.jpg", "b.jpg"]


# Metadata and exclusions


@ENGINES
def test_metadata_that_says_two_things_is_told_and_joined_to_nothing(suffix: str, place: Path, tmp_path: Path) -> None:
    (tmp_path / "said.csv").write_text("file,label\na.jpg,x\na.jpg,y\nimg\\0.jpg,z\n")
    db = tmp_path / f"m.{suffix}"
    done = scan("--db", db, "--source", f"a=folder:{place}", "--metadata", tmp_path / "said.csv", "--on", "file")
    labels = {path: said[0] for path, said in mapped(db).items()}
    assert (labels["a.jpg"], labels["img/0.jpg"], labels["img/sub/1.jpg"]) == (None, "z", "img")
    assert (
        "rows of the metadata say different things: 1, such as those with file 'a.jpg'; nothing is joined"
        in done.stderr
    )
    assert "a: metadata describes 1 image; of its rows, 0 match none" in done.stderr


@pytest.mark.parametrize("entry", ["img\\0.jpg", "./img/0.jpg", "x/../img/0.jpg", "img//0.jpg", "img\\\\0.jpg"])
@pytest.mark.parametrize("engine", ["duckdb", "sqlite"])
def test_an_exclusion_list_may_spell_paths_otherwise(engine: str, entry: str, tmp_path: Path) -> None:
    records = [{"key": f"k{i}", "path": f"img/{i}.jpg"} for i in range(20)]
    records.append({"key": "other", "path": "elsewhere/0.jpg"})
    (tmp_path / "list.csv").write_text(f"path\n{entry}\n")
    report, left_out = split(engine, records, parse_list(str(tmp_path / "list.csv")))
    assert (left_out, report.unmatched) == ({"k0"}, {})
