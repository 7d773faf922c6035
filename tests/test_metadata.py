from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shardforge.errors import SourceError, UsageError
from shardforge.records import listing_schema
from shardforge.sources import SourceSpec
from shardforge.sources.listing import make_batch
from shardforge.sources.metadata import Metadata, join_metadata, load_metadata


def records(*paths: str, **columns: list[str | None]) -> pa.Table:
    return make_batch(SourceSpec("a", "folder", Path("/")), paths, columns)


def load(folder: Path, content: str, on: str) -> Metadata:
    file = folder / "metadata.csv"
    file.write_text(content)
    return load_metadata(file, on)


def column(table: pa.Table, name: str) -> list[Any]:
    return table[name].to_pylist()


def test_rows_join_by_path_then_file_name_then_stem(tmp_path: Path) -> None:
    metadata = load(tmp_path, "id,license\na/1.jpg,path\n1.jpg,name\n1,stem\n", "id")
    batch = join_metadata(
        records("a/1.jpg", "b/1.jpg", "c/1.png", "d/2.jpg", "s.tar::e/1.jpg", "s.tar::1.jpg"), metadata
    )
    assert column(batch, "license") == ["path", "name", "stem", None, "name", "name"]
    assert batch.schema == listing_schema()
    assert set(column(batch, "metadata")) == {None}


@pytest.mark.parametrize("on", ["key", "label", "group_id", "species", "url"])
def test_some_columns_join_by_value(tmp_path: Path, on: str) -> None:
    batch = records("1.jpg", "2.jpg", "3.jpg", **({} if on == "key" else {on: ["x", None, "x"]}))
    value = column(batch, on)[0]
    joined = join_metadata(batch, load(tmp_path, f"{on},common_name\n{value},lynx\n,nobody\n", on))
    assert column(joined, "common_name") == (["lynx", None, None] if on == "key" else ["lynx", None, "lynx"])


def test_metadata_overrides_and_fills_but_never_empties(tmp_path: Path) -> None:
    batch = records("1.jpg", "2.jpg", label=["old", "old"], license=["CC0", None], metadata=['{"a":1,"b":1}', None])
    joined = join_metadata(batch, load(tmp_path, "file,label,licence,b\n1.jpg,new,,2\n2.jpg,,CC-BY,3\n", "file"))
    assert column(joined, "label") == ["new", "old"]
    assert column(joined, "license") == ["CC0", "CC-BY"]
    assert [json.loads(text) for text in column(joined, "metadata")] == [{"a": 1, "b": "2"}, {"b": "3"}]


def test_joined_records_and_idle_rows_are_counted_over_batches(tmp_path: Path) -> None:
    metadata = load(tmp_path, "file,label\n1.jpg,a\n2.jpg,b\n3.jpg,c\n,d\n", "file")
    for batch in (records("1.jpg", "x/1.jpg", "9.jpg"), records("2.jpg")):
        join_metadata(batch, metadata)
    assert (metadata.matched, metadata.unmatched) == (3, 2)


def test_rows_are_found_in_any_part_of_a_long_table(tmp_path: Path) -> None:
    metadata = load(tmp_path, "file,label\n" + "".join(f"{i}.jpg,l{i}\n" for i in range(70_000)), "file")
    wanted = [69_999, 0, 65_536, 3, 65_535, 3, 80_000]
    joined = join_metadata(records(*(f"{i}.jpg" for i in wanted)), metadata)
    assert column(joined, "label") == [f"l{i}" for i in wanted[:-1]] + [None]
    assert (metadata.matched, metadata.unmatched) == (6, 69_995)


def test_a_table_without_further_columns_changes_nothing(tmp_path: Path) -> None:
    batch = records("1.jpg")
    assert join_metadata(batch, load(tmp_path, "file\n1.jpg\n", "file")).equals(batch)


def test_a_value_may_repeat_with_the_same_row(tmp_path: Path) -> None:
    metadata = load(tmp_path, "file,label\n1.jpg,a\n1.jpg,a\n./1.jpg,a\n", "file")
    assert column(join_metadata(records("1.jpg"), metadata), "label") == ["a"]
    assert (metadata.matched, metadata.unmatched, metadata.ambiguous) == (1, 0, 0)


@pytest.mark.parametrize("on", ["file", "species"])
def test_a_value_of_different_rows_is_joined_to_nothing(on: str, tmp_path: Path) -> None:
    rows = "1.jpg,a\n1.jpg,b\n1.jpg,a\n2.jpg,c\n3.jpg,d\n3.jpg,e\n4.jpg,f\n"
    metadata = load(tmp_path, f"{on},label\n{rows}", on)
    paths = ("1.jpg", "2.jpg", "x/1.jpg", "9.jpg")
    batch = records(*paths) if on == "file" else records(*paths, species=["1.jpg", "2.jpg", "1.jpg", "9.jpg"])
    assert column(join_metadata(batch, metadata), "label") == [None, "c", None, None]
    assert (metadata.matched, metadata.torn, metadata.unmatched) == (1, 2, 1)
    assert (metadata.ambiguous, metadata.example in ("1.jpg", "3.jpg")) == (2, True)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("img\\0.jpg", "img/0.jpg"),
        (".\\img\\0.jpg", "img/0.jpg"),
        ("img\\0.jpg", "img\\\\0.jpg"),  # a file whose name holds a backslash, as the mapping writes it
        ("./img/0.jpg", "img/0.jpg"),
        ("img//0.jpg", "img/0.jpg"),
        ("img/0.jpg", "img//0.jpg"),
        ("x/../img/0.jpg", "img/0.jpg"),
        ("s.tar::img/0.jpg", "s.tar::./img/0.jpg"),
        ("0.jpg", "s.tar::./img/0.jpg"),
    ],
)
def test_paths_are_joined_however_they_are_spelled(value: str, path: str, tmp_path: Path) -> None:
    metadata = load(tmp_path, f"file,label\n{value},a\n", "file")
    assert column(join_metadata(records(path, "img/1.jpg"), metadata), "label") == ["a", None]


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"metadata.csv: has no rows below the line that names its columns"):
        load(tmp_path, "file,label\n", "file")


def test_missing_file_or_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing.csv: no such file"):
        load_metadata(tmp_path / "nothing.csv", "file")
    with pytest.raises(UsageError, match="there is no column 'id'; give --on one of file, label"):
        load(tmp_path, "file,label\n1.jpg,a\n", "id")
