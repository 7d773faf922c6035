from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline import run

from shardforge.errors import ImageError, SourceError, UsageError
from shardforge.paths import make_key, path_from_text
from shardforge.records import listing_schema
from shardforge.sources import SourceSpec, open_source, parse_source, parse_sources
from shardforge.sources.reading import read_record


def list_all(text: str, **options: str) -> list[dict[str, Any]]:
    """Return every record of a source as a dict; check the schema of each batch on the way."""
    batches = list(open_source(parse_source(text, options)).list())
    assert all(batch.schema == listing_schema() for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def labels_of(rows: list[dict[str, Any]]) -> dict[str, str | None]:
    return {row["path"]: row["label"] for row in rows}


def reasons_of(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["path"]: row["reason"] for row in rows if row["reason"]}


# Naming sources


def test_a_source_is_name_kind_and_absolute_root(image_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(image_tree.parent)
    link = image_tree.parent / "link"
    link.symlink_to(image_tree)
    assert parse_source("a-1=folder:link", {"label": "none"}) == SourceSpec("a-1", "folder", link, {"label": "none"})


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("photos", {}, "expected NAME=KIND:ROOT"),
        ("photos=folder", {}, "expected NAME=KIND:ROOT"),
        ("Photos=folder:.", {}, "'Photos' may only have"),
        (
            "photos=floder:.",
            {},
            "'floder' is not known; choose one of bioscan, eol, folder, inat21, list, openmmlab, table, wds",
        ),
        ("photos=folder:/not/there", {}, "/not/there does not exist"),
        ("photos=table:.", {}, "is not a file"),
        ("photos=folder:.", {"lable": "top"}, "no such option; it has: label: top"),
    ],
)
def test_wrong_sources_are_refused(text: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_source(text, options)


def test_options_go_to_their_source(image_tree: Path) -> None:
    first, second = parse_sources([f"a=folder:{image_tree}", f"b=folder:{image_tree}"], ["b.label=none"])
    assert (first.options, second.options) == ({}, {"label": "none"})


@pytest.mark.parametrize(
    ("names", "option", "message"),
    [
        ("a", "b.label=none", "no source 'b'; the sources are: a"),
        ("a", "label=none", "expected NAME.KEY=VALUE"),
        ("aa", "a.label=none", "the name 'a' is given twice"),
    ],
)
def test_wrong_options_are_refused(image_tree: Path, names: str, option: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_sources([f"{name}=folder:{image_tree}" for name in names], [option])


def install_kind(folder: Path, package: str, code: str) -> None:
    """Make a package in `folder` that adds the kind `added`."""
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[shardforge.sources]\nadded = {package}:AddedSource\n")


def test_a_package_adds_a_kind(image_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from shardforge.sources.folder import FolderSource\nclass AddedSource(FolderSource): pass\n"
    install_kind(tmp_path, "good_kind", code)
    monkeypatch.syspath_prepend(tmp_path)
    assert len(list_all(f"a=added:{image_tree}")) == 12
    with pytest.raises(UsageError, match="choose one of added, bioscan, eol, folder"):
        parse_source(f"a=other:{image_tree}")


def test_a_broken_package_is_named(image_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_kind(tmp_path, "bad_kind", "raise RuntimeError('no camera')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"of bad_kind.* cannot be loaded: RuntimeError: no camera"):
        parse_source(f"a=added:{image_tree}")


# folder


def test_folder_lists_every_file_with_key_size_and_time(image_tree: Path) -> None:
    (image_tree / "fish" / "notes.txt").write_text("no image, but a row")
    (image_tree / "fish" / "nothing.jpg").touch()
    rows = list_all(f"a=folder:{image_tree}")
    assert [row["path"] for row in rows] == sorted(str(p.relative_to(image_tree)) for p in image_tree.rglob("*.*"))
    for row in rows:
        status = (image_tree / row["path"]).stat()
        assert (row["bytes"], row["mtime"]) == (status.st_size, status.st_mtime_ns)
        assert row["key"] == make_key("a", row["path"])
    assert reasons_of(rows) == {"fish/nothing.jpg": "empty_file"}


def test_moving_the_root_changes_no_key(image_tree: Path, tmp_path: Path) -> None:
    before = [row["key"] for row in list_all(f"a=folder:{image_tree}")]
    moved = image_tree.rename(tmp_path / "moved")
    assert [row["key"] for row in list_all(f"a=folder:{moved}")] == before


def test_folder_leaves_out_hidden_names(image_tree: Path) -> None:
    (image_tree / ".thumbnails").mkdir()
    (image_tree / ".thumbnails" / "a.jpg").write_bytes(b"x")
    (image_tree / "fish" / ".a.jpg").write_bytes(b"x")
    assert len(list_all(f"a=folder:{image_tree}")) == 12


@pytest.mark.parametrize(
    ("label", "expected"),
    [("top", [None, "a", "a"]), ("parent", [None, "a", "b"]), ("path", [None, "a", "a/b"]), ("none", [None] * 3)],
)
def test_folder_labels(tmp_path: Path, label: str, expected: list[str | None]) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for path in ("1.jpg", "a/2.jpg", "a/b/3.jpg"):
        (tmp_path / path).write_bytes(b"x")
    assert list(labels_of(list_all(f"a=folder:{tmp_path}", label=label)).values()) == expected


def test_folder_include_restricts_to_globs(image_tree: Path) -> None:
    rows = list_all(f"a=folder:{image_tree}", include="*.png, birds/0.*")
    assert [row["path"] for row in rows] == ["birds/0.jpg", "birds/3.png", "fish/3.png", "mammals/3.png"]


def test_any_file_name_comes_back_from_its_text(tmp_path: Path) -> None:
    names = [
        b"two words.jpg",
        b"line\nend.jpg",
        "\U0001f41f.jpg".encode(),
        b"\xff\xfe.jpg",
        b"back\\slash.jpg",
        b"\\xff.jpg",
    ]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    rows = list_all(f"a=folder:{tmp_path}")
    assert [path_from_text(row["path"]) for row in rows] == sorted(names)
    for row in rows:
        data = read_record(str(tmp_path), row["path"], None, row["bytes"], row["mtime"])
        assert data == path_from_text(row["path"])


def test_folder_follows_links_once(image_tree: Path, tmp_path: Path) -> None:
    real = [row["path"] for row in list_all(f"a=folder:{image_tree}")]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "new.jpg").write_bytes(b"x")
    (image_tree / "a_link_before_fish").symlink_to(image_tree / "fish")
    (image_tree / "fish" / "loop").symlink_to(image_tree)
    (image_tree / "itself").symlink_to(image_tree / "itself")
    (image_tree / "again").symlink_to(outside)
    (image_tree / "more").symlink_to(outside)
    (image_tree / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (image_tree / "linked.jpg").symlink_to(outside / "new.jpg")
    rows = list_all(f"a=folder:{image_tree}")
    assert [row["path"] for row in rows] == ["broken.jpg", "itself", "linked.jpg", *real, "again/new.jpg"]
    assert reasons_of(rows) == {"broken.jpg": "broken_link", "itself": "broken_link"}


def test_folder_names_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reasons_of(list_all(f"a=folder:{tmp_path}")) == {"pipe.jpg": "unreadable"}


_LIST_UNPRIVILEGED = """
import json, os, sys
from pathlib import Path
from shardforge.errors import SourceError
from shardforge.sources import SourceSpec
from shardforge.sources.folder import FolderSource
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    rows = [row for batch in FolderSource(SourceSpec("a", "folder", Path("."))).list() for row in batch.to_pylist()]
    print(json.dumps({row["path"]: row["reason"] for row in rows}))
except SourceError as error:
    print(json.dumps(str(error)))
"""


def list_unprivileged(root: Path) -> Any:
    """Return path -> reason of a folder as a user without rights lists it, or the error."""
    command = [sys.executable, "-c", _LIST_UNPRIVILEGED]
    package = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_directory_that_cannot_be_listed_has_a_row(image_tree: Path) -> None:
    (image_tree / "fish").chmod(0)
    found = list_unprivileged(image_tree)
    (image_tree / "fish").chmod(0o755)
    assert found.pop("fish") == "unreadable_directory"
    assert len(found) == 8
    assert not any(found.values())


def test_a_root_that_cannot_be_listed_is_an_error(image_tree: Path) -> None:
    image_tree.chmod(0o111)
    found = list_unprivileged(image_tree)
    image_tree.chmod(0o755)
    assert "cannot be listed: Permission denied" in found


def test_an_empty_folder_yields_nothing(tmp_path: Path) -> None:
    assert list_all(f"a=folder:{tmp_path}") == []


# list


@pytest.mark.parametrize(
    ("line", "separator", "path", "label"),
    [
        ("a/1.jpg", None, "a/1.jpg", None),
        ("a/1.jpg 17", None, "a/1.jpg", "17"),
        ("  ./a/1.jpg   17 ", None, "a/1.jpg", "17"),
        ("my cat.jpg", None, "my cat.jpg", None),
        ("my cat.jpg 3", None, "my cat.jpg", "3"),
        ("my cat.jpg\tfelis catus", None, "my cat.jpg", "felis catus"),
        ("a,b.jpg,cat", "comma", "a,b.jpg", "cat"),
        ("my photo 3", "none", "my photo 3", None),
        ("my\tphoto.jpg 3", "space", "my\tphoto.jpg", "3"),
    ],
)
def test_list_lines(tmp_path: Path, line: str, separator: str | None, path: str, label: str | None) -> None:
    (tmp_path / "list.txt").write_text(f"# a comment\n\n{line}\n")
    options = {"separator": separator} if separator else {}
    assert labels_of(list_all(f"a=list:{tmp_path}/list.txt", **options)) == {path: label}


def test_list_paths_start_from_its_folder_or_from_the_option_root(image_tree: Path) -> None:
    beside, outside = image_tree / "list.txt", image_tree.parent / "list.txt"
    for file in (beside, outside):
        file.write_text(f"fish/0.jpg fish\n{image_tree}/birds/1.jpg birds\nfish/gone.jpg\n")
    rows = list_all(f"a=list:{beside}")
    assert labels_of(rows) == {"fish/0.jpg": "fish", "birds/1.jpg": "birds", "fish/gone.jpg": None}
    assert reasons_of(rows) == {"fish/gone.jpg": "vanished"}
    assert rows[0]["bytes"] == (image_tree / "fish/0.jpg").stat().st_size
    assert list_all(f"a=list:{outside}", root="images") == rows
    with pytest.raises(UsageError, match=r"option root: .*pictures is not a folder"):
        parse_source(f"a=list:{outside}", {"root": "pictures"})


def test_a_list_that_names_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# images\n\n")
    with pytest.raises(SourceError, match=r"list.txt: names no image; expected one a line"):
        list_all(f"a=list:{tmp_path}/list.txt")


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\ufeff1.jpg cat\n")
    assert labels_of(list_all(f"a=list:{tmp_path}/list.txt")) == {"1.jpg": "cat"}


def test_batches_have_at_most_65536_rows(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{i}.jpg\n" for i in range(65_537)))
    source = open_source(parse_source(f"a=list:{tmp_path}/list.txt"))
    assert [batch.num_rows for batch in source.list()] == [65_536, 1]


# openmmlab


def write_annotations(path: Path, **changes: Any) -> Path:
    content = {
        "metainfo": {"classes": ["bird", "fish"]},
        "data_list": [
            {"img_path": "fish/0.jpg", "gt_label": 1},
            {"img_path": "birds/0.jpg", "gt_label": [0], "licence": "CC0", "view": "side"},
            {"img_path": "birds/1.jpg"},
        ],
    }
    path.write_text(json.dumps(content | changes))
    return path


def test_openmmlab_entries(image_tree: Path) -> None:
    file = write_annotations(image_tree.parent / "train.json")
    rows = list_all(f"a=openmmlab:{file}", prefix="images/")
    assert labels_of(rows) == {"images/fish/0.jpg": "fish", "images/birds/0.jpg": "bird", "images/birds/1.jpg": None}
    assert (rows[1]["license"], rows[1]["metadata"]) == ("CC0", '{"view":"side"}')
    assert reasons_of(rows) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_list": None}, "no list 'data_list'"),
        ({"data_list": []}, "'data_list' is empty"),
        ({"data_list": [{"gt_label": 1}]}, r"data_list\[0\] has no 'img_path', nor has any other"),
        ({"metainfo": {}}, r"data_list\[0\] has gt_label 1, but metainfo.classes has 0 names"),
        ({"metainfo": ["bird"]}, "'metainfo' is not an object with a list 'classes'"),
        ({"metainfo": {"classes": 2}}, "'metainfo' is not an object with a list 'classes'"),
    ],
)
def test_wrong_annotations_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = write_annotations(tmp_path / "train.json", **changes)
    with pytest.raises(SourceError, match=message):
        list_all(f"a=openmmlab:{file}")


@pytest.mark.parametrize(
    ("entry", "path", "reason", "note"),
    [
        (
            {"img_path": "1.jpg", "gt_label": 2},
            "1.jpg",
            "bad_sample",
            "gt_label is 2, but metainfo.classes has 2 names",
        ),
        (
            {"img_path": "1.jpg", "gt_label": -1},
            "1.jpg",
            "bad_sample",
            "gt_label is -1, but metainfo.classes has 2 names",
        ),
        (
            {"img_path": "1.jpg", "gt_label": [0, 1]},
            "1.jpg",
            "bad_sample",
            "gt_label is [0, 1]; expected one class index",
        ),
        ({"img_path": "1.jpg", "gt_label": "cat"}, "1.jpg", "bad_sample", "gt_label is cat; expected one class index"),
        ({"img_path": "1.jpg", "gt_label": True}, "1.jpg", "bad_sample", "gt_label is True; expected one class index"),
        ({"gt_label": 1}, "t.json::data_list[1]", "misnamed", "data_list[1] of t.json names no image"),
        ({"img_path": ["1.jpg"]}, "t.json::data_list[1]", "misnamed", "data_list[1] of t.json names no image"),
        ("1.jpg", "t.json::data_list[1]", "misnamed", "data_list[1] of t.json names no image"),
    ],
)
def test_an_entry_that_is_wrong_costs_its_row(tmp_path: Path, entry: Any, path: str, reason: str, note: str) -> None:
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(b"x")
    good = [{"img_path": f"{i}.jpg", "gt_label": 1.0} for i in (0, 2)]
    write_annotations(tmp_path / "t.json", data_list=[good[0], entry, good[1]])
    rows = list_all(f"a=openmmlab:{tmp_path}/t.json")
    assert labels_of(rows) == {"0.jpg": "fish", "2.jpg": "fish", path: None}
    assert [(row["path"], row["reason"], row["note"]) for row in rows if row["reason"]] == [(path, reason, note)]


# table


def test_table_of_the_photos(photos: Path) -> None:
    rows = {row["path"]: row for row in list_all(f"a=table:{photos}/photos.csv")}
    assert len(rows) == 45
    assert reasons_of(list(rows.values())) == {}
    crocodile = rows["Crocodylus_porosus_1.webp"]
    assert (crocodile["class"], crocodile["order"], crocodile["author"]) == (None, "Crocodylia", "Djambalawa")
    assert crocodile["url"].startswith("https://commons.wikimedia.org/")
    assert crocodile["metadata"] == '{"scientific_name":"Crocodylus porosus"}'
    assert crocodile["bytes"] == (photos / "Crocodylus_porosus_1.webp").stat().st_size


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.jsonl", "t.parquet"])
def test_table_formats_say_the_same(image_tree: Path, name: str) -> None:
    records = [
        {"File Name": "fish/0.jpg", "class_name": "ray, spotted", "zoom": "1.50", "note": None},
        {"File Name": "fish/1.jpg", "class_name": None, "zoom": None, "note": 'a "note"\nof two lines'},
    ]
    file = image_tree / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(records), file)
    elif name.endswith(".jsonl"):
        file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, records[0])
        if name == "t.tsv":  # which has quotes where every name in its header has
            writer = csv.DictWriter(text, records[0], delimiter="\t", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(records)
        data = text.getvalue().encode()
        file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    rows = list_all(f"a=table:{file}")
    assert labels_of(rows) == {"fish/0.jpg": "ray, spotted", "fish/1.jpg": None}
    assert [row["metadata"] for row in rows] == ['{"zoom":"1.50"}', '{"note":"a \\"note\\"\\nof two lines"}']


@pytest.mark.parametrize(
    ("header", "label", "rank"),
    [("path,class", "Aves", None), ("path,class,order", None, "Aves")],
    ids=["label", "rank"],
)
def test_a_column_class_is_a_rank_only_beside_other_ranks(
    tmp_path: Path, header: str, label: str | None, rank: str | None
) -> None:
    (tmp_path / "t.csv").write_text(
        f"{header}\n{','.join(['1.jpg', 'Aves', 'Pelecaniformes'][: header.count(',') + 1])}\n"
    )
    [row] = list_all(f"a=table:{tmp_path}/t.csv")
    assert (row["label"], row["class"]) == (label, rank)


def test_values_of_json_keep_their_kind_in_metadata(tmp_path: Path) -> None:
    record = {"path": "1.jpg", "label": 3, "metadata": {"b": 2}, "a": [1, {"x": None}], "ok": True, "none": None}
    (tmp_path / "t.jsonl").write_text(json.dumps(record))
    [row] = list_all(f"a=table:{tmp_path}/t.jsonl")
    assert (row["label"], row["metadata"]) == ("3", '{"a":[1,{"x":null}],"b":2,"ok":true}')


def test_table_path_column_and_root_are_options(image_tree: Path) -> None:
    (image_tree.parent / "t.csv").write_text("path,where\nx,fish/0.jpg\n")
    [row] = list_all(f"a=table:{image_tree.parent}/t.csv", path="where", root="images")
    assert (row["path"], row["reason"], row["metadata"]) == ("fish/0.jpg", None, '{"path":"x"}')


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.csv",
            b"a,b\n1,2\n",
            "no column of paths; expected one of path, .* found a, b; name it by --option a.path=",
        ),
        ("t.csv", b"path,b\n1,2,3\n", r"a row has 3 columns where 2 are expected \(1,2,3\)"),
        ("t.csv", b"path,path\n1,2\n", "column 'path' occurs twice"),
        (
            "t.csv",
            b"path,b\n,2\n",
            "no row has a path; fill in the column of paths, or name another by --option a.path=",
        ),
        ("t.csv", b"path,b\n\xff.jpg,2\n", "not UTF-8 text; convert it, for instance by iconv"),
        ("t.csv", b"path,\xff\n1.jpg,2\n", "not UTF-8 text; convert it, for instance by iconv"),
        ("t.csv", b"", "has no rows; expected a line that names the columns"),
        ("t.tsv", b"path,b\n1,2\n", r"has columns separated by ','; expected '\\t'"),
        ("t.csv.gz", b"path\n1\n", "cannot be read .*; it is damaged, cut short or of another format"),
        ("t.jsonl", b'{"path": "1.jpg"}\n["2.jpg"]\n', "line 2: .* is no JSON object"),
        ("t.jsonl", b'{"path": "1.jpg"}\n{"a":' + b"[" * 3000, "line 2: not JSON"),
        ("t.jsonl", b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "line 1: not JSON .nested more than 100 levels deep"),
        ("t.parquet", b"PAR1", "cannot be read .*; it is damaged"),
        ("t.xlsx", b"PK", "not a table; expected one of .csv, .tsv"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list_all(f"a=table:{tmp_path / name}")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_csv_may_be_separated_otherwise_when_its_header_says_so(tmp_path: Path, separator: str) -> None:
    (tmp_path / "t.csv").write_text(f'path{separator}"a,b"\n1.jpg{separator}c,d\n')
    [row] = list_all(f"a=table:{tmp_path}/t.csv")
    assert (row["path"], row["metadata"]) == ("1.jpg", '{"a,b":"c,d"}')


def test_halves_of_surrogate_pairs_are_kept_as_their_escapes(tmp_path: Path) -> None:
    torn = '"label": "x\\ud83d", "said": {"\\udc80": ["\\ud83d"]}'
    (tmp_path / "t.jsonl").write_text(f'{{"path": "\\ud800.jpg", {torn}}}\n{{"path": "\\udcff.jpg"}}\n')
    write_annotations(tmp_path / "t.json", metainfo={"classes": ["a", "b\ud83d"]})
    write_tar(tmp_path / "t.tar", {"k.jpg": b"x", "k.json": f"{{{torn}}}".encode()})
    first, second = list_all(f"a=table:{tmp_path}/t.jsonl")
    assert (first["path"], first["reason"], first["label"]) == (r"\xed\xa0\x80.jpg", "vanished", r"x\ud83d")
    assert json.loads(first["metadata"]) == {"said": {"\udc80": ["\ud83d"]}}
    assert second["path"] == r"\xff.jpg"
    assert list_all(f"a=openmmlab:{tmp_path}/t.json")[0]["label"] == r"b\ud83d"
    assert list_all(f"a=wds:{tmp_path}/t.tar")[0]["metadata"] == first["metadata"]


def test_tables_that_hold_the_images_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["1.jpg"], "image": [{"bytes": b"\xff\xd8"}]}), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="column 'image' is of type struct<bytes: binary>"):
        list_all(f"a=table:{tmp_path}/t.parquet")


# wds


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def tars(image_tree: Path, tmp_path: Path) -> Path:
    """Return a folder with train/s-000000.tar (birds) and train/s-000001.tar (fish), four samples in each."""
    for number, label in enumerate(("birds", "fish")):
        members = {}
        for i, image in enumerate(sorted((image_tree / label).iterdir())):
            members[f"{label}/{i}{image.suffix.upper()}"] = image.read_bytes()
            members[f"{label}/{i}.cls"] = b"%d" % number
            members[f"{label}/{i}.json"] = json.dumps({"species": f"{label} {i}", "view": i}).encode()
            members[f"{label}/{i}.sci.txt"] = b"not asked for"
        write_tar(tmp_path / "shards" / "train" / f"s-{number:06d}.tar", members)
    return tmp_path / "shards"


def test_wds_images_can_be_read_in_place(tars: Path, image_tree: Path) -> None:
    rows = list_all(f"a=wds:{tars}")
    assert [row["path"] for row in rows[:2]] == [f"train/s-000000.tar::birds/{i}.JPG" for i in range(2)]
    assert len(rows) == 8
    for row in rows:
        data = read_record(str(tars), row["path"], row["offset"], row["bytes"], row["mtime"])
        assert (
            data
            == (image_tree / row["path"].partition("::")[2].replace("JPG", "jpg").replace("PNG", "png")).read_bytes()
        )
    assert [(row["label"], row["species"], row["metadata"]) for row in rows[3:5]] == [
        ("0", "birds 3", '{"view":3}'),
        ("1", "fish 0", '{"view":0}'),
    ]


@pytest.mark.parametrize("place", ["train/classes.txt", "classes.txt", "other/names.txt"])
def test_wds_labels_are_class_names_where_there_are_some(tars: Path, place: str) -> None:
    (tars / place).parent.mkdir(exist_ok=True)
    (tars / place).write_text("bird\nfish\n")
    options = {"classes": place} if place.startswith("other") else {}
    labels = labels_of(list_all(f"a=wds:{tars}", **options))
    assert (labels["train/s-000000.tar::birds/0.JPG"], labels["train/s-000001.tar::fish/0.JPG"]) == ("bird", "fish")


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        (b"1", "fish", None),
        (b" 1\n", "fish", None),
        (b"fish", "fish", None),
        (b"", None, None),
        *((text, None, "bad_sample") for text in (b"2", b"-1", b"1.0", b"1 2", b"0x1", b"nan", b"Fish", b"1\0")),
    ],
)
def test_wds_class_is_a_number_or_a_name_of_the_class_file(
    text: bytes, label: str | None, reason: str | None, tmp_path: Path
) -> None:
    (tmp_path / "classes.txt").write_text("bird\nfish\n")
    write_tar(tmp_path / "a.tar", {"a.jpg": b"x", "a.cls": text})
    [row] = list_all(f"a=wds:{tmp_path}")
    assert (row["label"], row["reason"]) == (label, reason)


def test_wds_class_without_a_name_costs_its_sample(tars: Path) -> None:
    (tars / "classes.txt").write_text("bird\n")
    rows = list_all(f"a=wds:{tars}")
    assert [row["reason"] for row in rows] == [None] * 4 + ["bad_sample"] * 4
    assert "says class 1, but the class file ends with class 0 and has no such name; give" in rows[4]["note"]


def test_wds_takes_a_tar_or_a_braced_pattern(tars: Path) -> None:
    one = list_all(f"a=wds:{tars}/train/s-000001.tar")
    both = list_all(f"a=wds:{tars}/train/s-{{000000..000001}}.tar")
    assert one[0]["path"] == "s-000001.tar::fish/0.JPG"
    assert both[4:] == one
    assert len(both) == 8
    with pytest.raises(UsageError, match=r"s-000002.tar does not exist; name a folder of tars"):
        parse_source(f"a=wds:{tars}/train/s-{{000000..000002}}.tar")


def test_wds_samples_with_two_images_and_text(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "s.tar", {"k.left.png": b"left", "k.right.png": b"right", "k.txt": "été".encode(), "l.cls": b"1"}
    )
    rows = list_all(f"a=wds:{tmp_path}")
    assert [row["path"] for row in rows] == ["s.tar::k.left.png", "s.tar::k.right.png"]
    assert [row["metadata"] for row in rows] == ['{"txt":"été"}'] * 2


def test_a_damaged_tar_keeps_what_lies_before_the_damage(tars: Path) -> None:
    whole = list_all(f"a=wds:{tars}")
    file = tars / "train" / "s-000000.tar"
    data = bytearray(file.read_bytes())
    third = whole[2]["offset"]
    file.write_bytes(data[: third + 10])
    rows = list_all(f"a=wds:{tars}")
    assert reasons_of(rows) == {"train/s-000000.tar": "truncated"}
    assert [row["path"] for row in rows if not row["reason"]] == [row["path"] for row in whole[:2] + whole[4:]]
    data[third - 500] ^= 1
    file.write_bytes(data)
    assert reasons_of(list_all(f"a=wds:{tars}")) == {"train/s-000000.tar": "corrupt"}
    file.write_bytes(b"")
    assert reasons_of(list_all(f"a=wds:{tars}")) == {"train/s-000000.tar": "empty_file"}


@pytest.mark.parametrize(
    ("name", "data"),
    [("k.json", b"{"), ("k.json", b"[]"), ("k.json", b'{"a":' * 3000), ("k.txt", b"\xff"), ("k.cls", b"\xff")],
)
def test_wds_members_that_are_not_what_they_say_cost_their_sample(tmp_path: Path, name: str, data: bytes) -> None:
    write_tar(tmp_path / "s.tar", {"j.jpg": b"x", "k.jpg": b"x", name: data, "l.jpg": b"x", "l.cls": b"9" * 5000})
    rows = list_all(f"a=wds:{tmp_path}")
    assert reasons_of(rows) == {"s.tar::k.jpg": "bad_sample"}
    assert [row["label"] for row in rows] == [None, None, "9" * 5000]


@pytest.mark.parametrize("label", [b"9" * 5000, b"-1", b"1\n", b"+2"])
def test_wds_class_beyond_the_class_file_costs_its_sample(tmp_path: Path, label: bytes) -> None:
    write_tar(tmp_path / "s.tar", {"j.jpg": b"x", "j.cls": b"0\n", "k.jpg": b"x", "k.cls": label})
    (tmp_path / "classes.txt").write_text("bird\n")
    first, second = list_all(f"a=wds:{tmp_path}")
    assert (first["label"], first["reason"], second["label"], second["reason"]) == ("bird", None, None, "bad_sample")
    assert "but the class file ends with class 0" in second["note"]


def test_wds_class_files_are_read_by_line_feeds(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", {"k.jpg": b"x", "k.cls": b"1"})
    (tmp_path / "classes.txt").write_bytes("one\x85and more\r\nzwei\r\n".encode())
    assert labels_of(list_all(f"a=wds:{tmp_path}")) == {"s.tar::k.jpg": "zwei"}
    (tmp_path / "classes.txt").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"classes.txt: not UTF-8 text .*; convert it"):
        list_all(f"a=wds:{tmp_path}")


def test_a_tar_cut_short_while_it_is_read_keeps_what_was_read(tars: Path) -> None:
    file = tars / "train" / "s-000000.tar"
    source = open_source(parse_source(f"a=wds:{file}"))
    images = source._list_images()
    first = next(images)
    os.truncate(file, first[1] + 1)
    assert [row[4] for row in images] == ["unreadable"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("s-{9..0}.tar", "9..0 runs backwards; give the smaller number first"),
        ("s-{0..99999999999}.tar", "stands for 100,000,000,000 names; one pattern may stand for 1,000,000"),
        ("{0..9999}/{0..9999}.tar", "stands for 100,000,000 names"),
    ],
)
def test_ranges_that_nobody_means_are_refused(tmp_path: Path, pattern: str, message: str) -> None:
    refused = run("map", "--db", tmp_path / "m.sqlite", "--source", f"a=wds:{tmp_path}/{pattern}", code=2)
    assert message in refused.stderr


# Reading


def reason_of_reading(root: Path, row: dict[str, Any]) -> str:
    with pytest.raises(ImageError) as caught:
        read_record(str(root), row["path"], row["offset"], row["bytes"], row["mtime"])
    return caught.value.reason


def test_a_file_that_changed_since_is_not_read(image_tree: Path) -> None:
    rows = {row["path"]: row for row in list_all(f"a=folder:{image_tree}")}
    touched, cut, gone, replaced = (image_tree / "fish" / name for name in ("0.jpg", "1.jpg", "2.jpg", "3.png"))
    os.utime(touched, ns=(0, 0))
    status = cut.stat()
    os.truncate(cut, 10)
    os.utime(cut, ns=(status.st_mtime_ns, status.st_mtime_ns))
    gone.unlink()
    replaced.unlink()
    replaced.mkdir()
    found = [reason_of_reading(image_tree, rows[f"fish/{path.name}"]) for path in (touched, cut, gone, replaced)]
    assert found == ["changed", "changed", "vanished", "changed"]


def test_a_tar_that_was_replaced_is_not_read_until_it_is_mapped_again(tars: Path) -> None:
    file = tars / "train" / "s-000000.tar"
    before = list_all(f"a=wds:{tars}")[0]
    read_record(str(tars), before["path"], before["offset"], before["bytes"], before["mtime"])
    shutil.copyfile(tars / "train" / "s-000001.tar", tars / "new.tar")
    os.utime(tars / "new.tar", ns=(0, 0))
    os.replace(tars / "new.tar", file)
    after = list_all(f"a=wds:{tars}")[0]
    assert read_record(str(tars), after["path"], after["offset"], after["bytes"], after["mtime"])
    assert reason_of_reading(tars, before) == "changed"
