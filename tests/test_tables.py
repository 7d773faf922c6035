"""Tables in text: every reader reads what Python's csv reads, or says in a short sentence what is wrong, and where."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pipeline import run
from test_sources import list_all

from shardforge.errors import ShardforgeError, SourceError, UsageError, shorten, shorten_list
from shardforge.loader.selection import read_table as read_labels
from shardforge.sources.metadata import load_metadata
from shardforge.sources.table_file import read_text
from shardforge.splits.exclusion_lists import ExclusionList
from shardforge.tables import text as text_module
from shardforge.tables.archive_meta import read_meta
from shardforge.tables.blocks import BLOCK_BYTES
from shardforge.tables.dialect import Dialect
from shardforge.tables.numbers import as_whole, read_whole_numbers
from shardforge.tables.rows import read_rows
from shardforge.tables.text import TextTable
from shardforge.taxonomy.delimited import open_parts, read_columns
from shardforge.taxonomy.names import NamesChoice, open_names, parse_names_file

LENIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}


class Dribble:
    """A stream that hands out few bytes at a time, as those inside archives do."""

    def __init__(self, data: bytes, most: int) -> None:
        self._stream, self._most = io.BytesIO(data), most

    def read(self, size: int) -> bytes:
        return self._stream.read(min(size, self._most))


def expect(text: str, dialect: Dialect, *, strict: bool = False) -> list[list[str]]:
    """Return the rows that Python's csv reads, without empty lines."""
    quoting = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    lines = io.StringIO(text.removeprefix("\ufeff"), newline="")
    return [row for row in csv.reader(lines, delimiter=dialect.delimiter, quoting=quoting, strict=strict) if row]


def rows_of(table: TextTable) -> list[list[str]]:
    """Return the rows that Arrow reads."""
    return [
        [cell or "" for cell in row] for part in table.tables() for row in zip(*part.to_pydict().values(), strict=True)
    ]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have readers of files look at a few bytes at a time."""
    monkeypatch.setattr(text_module, "HEAD_BYTES", 8)
    for name in ("sources.table_file", "taxonomy.delimited", "tables.rows"):
        monkeypatch.setattr(f"shardforge.{name}.TextTable", partial(TextTable, size=5))


@settings(max_examples=1_500, **LENIENT)
@given(
    text=st.text(alphabet='ab",;\n\r\0 é\t\ufeff', max_size=60),
    dialect=st.builds(Dialect, st.sampled_from(",;\t"), st.booleans()),
    size=st.sampled_from([1, 2, 3, 5, 8, 1_000]),
    most=st.sampled_from([1, 3, 1_000]),
    by_row=st.booleans(),
)
def test_any_text_is_read_as_csv_reads_it_or_refused_for_its_quotes(
    text: str, dialect: Dialect, size: int, most: int, by_row: bool
) -> None:
    rows = expect(text, dialect)
    text_module.HEAD_BYTES, before = 8, text_module.HEAD_BYTES
    try:
        table = TextTable(Dribble(text.encode(), most), "t", ".csv", dialect=dialect, header=False, size=size)  # type: ignore[arg-type]
        assert (table.names == []) == (rows == [])
        found = [row for _, row in table.rows()] if by_row else rows_of(table)
    except SourceError as error:
        message = str(error)
        if "has no rows" in message:
            assert rows == []
        elif "columns where" in message:
            assert not by_row
            assert len({len(row) for row in rows}) > 1
        else:
            assert "a quote" in message
            with pytest.raises(csv.Error):
                expect(text, dialect, strict=True)
    else:
        assert found == rows
    finally:
        text_module.HEAD_BYTES = before


CELLS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\ufeff"), max_size=8) | st.sampled_from(
    ['"', '""', 'a"b', '5" pipe', "a\r\nb", "\n", "\r", ",", "\t", "x" * 300, "12.0", "'", "\\", "\0"]
)


def read_by_source(file: Path) -> list[list[str]]:
    return [
        [cell or "" for cell in row] for part in read_text(file) for row in zip(*part.to_pydict().values(), strict=True)
    ]


def read_by_names(file: Path) -> list[list[str]]:
    for part in open_parts(file, lambda name: True):
        table = read_columns(part, {"name": ("name",), "kingdom": ("kingdom",)})
        return [[cell or "" for cell in row] for row in zip(*table.to_pydict().values(), strict=True)]
    raise AssertionError("no part")


def read_by_selection(file: Path) -> list[list[str]]:
    return [[row["name"], row["kingdom"]] for row in read_labels(file, ("name", "kingdom"))]


READERS: dict[str, tuple[Callable[[Path], list[list[str]]], tuple[str, ...]]] = {
    "table": (read_by_source, (".csv", ".tsv", ".tab")),
    "names": (read_by_names, (".csv", ".tsv", ".tab", ".txt")),
    "exclusions": (lambda file: [row for _, row in read_rows(file, file.suffix)[1]], (".csv", ".tsv", ".tab")),
    "selection": (read_by_selection, (".csv",)),
}


@settings(max_examples=60, **LENIENT)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    bom=st.booleans(),
    final=st.booleans(),
)
@pytest.mark.parametrize("name", READERS)
@pytest.mark.usefixtures("small_blocks")
def test_every_reader_reads_what_csv_writes(
    name: str, rows: list[tuple[str, str]], end: str, quoting: int, bom: bool, final: bool, tmp_path: Path
) -> None:
    read, suffixes = READERS[name]
    for suffix in suffixes:
        declared = suffix == ".csv" or quoting != csv.QUOTE_MINIMAL  # else the header has no quotes
        assume(declared or not any(set(cell) & set('\t\n\r"') for row in rows for cell in row))
        assume(any(cell for row in rows for cell in row) or quoting == csv.QUOTE_ALL)
        lines = io.StringIO(newline="")
        writer = csv.writer(lines, delimiter="," if suffix == ".csv" else "\t", lineterminator=end, quoting=quoting)
        writer.writerows([("name", "kingdom"), *rows])
        text = lines.getvalue() if final else lines.getvalue().removesuffix(end)
        file = tmp_path / f"t{suffix}"
        file.write_bytes(codecs.BOM_UTF8 * bom + text.encode())
        wanted = expect(text, Dialect("," if suffix == ".csv" else "\t", declared))[1:]
        assume(all(len(row) == 2 for row in wanted))  # csv leaves other ends of lines than its own without quotes
        for place in (0, 1):  # whole numbers that a gap made floats
            if {row[place] for row in wanted} - {""} == {"12.0"}:
                wanted = [
                    [cell.replace("12.0", "12") if i == place else cell for i, cell in enumerate(row)] for row in wanted
                ]
        assert read(file) == wanted


@pytest.mark.parametrize("suffix", [".tsv", ".tab", ".txt"])
@pytest.mark.parametrize("name", READERS)
def test_a_quote_in_a_table_of_tabs_is_a_letter(name: str, suffix: str, tmp_path: Path) -> None:
    read, suffixes = READERS[name]
    if suffix not in suffixes:
        suffix = ".csv" if suffixes == (".csv",) else suffixes[-1]
    rows = [["Aus bus", f"note {i}"] for i in range(300)]
    rows[10][1], rows[210][1], rows[250][1] = "\"big tree, 5' tall", '"another', '5"'
    file = tmp_path / f"t{suffix}"
    file.write_text("\n".join("\t".join(row) for row in [["name", "kingdom"], *rows]))
    if suffix != ".csv":
        assert read(file) == rows
    else:
        with pytest.raises(
            ShardforgeError, match="a quote that is opened in line 12, column 9 is closed in line 212, col"
        ):
            read(file)


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["a,b", '1,"2', "3,4"], "a quote is opened in line 2, column 3 and never closed"),
        (["a,b", "é,é", 'é,"2'], "a quote is opened in line 3, column 3 and never closed"),
        (
            ["a,b", '1,"2', '3,"4'],
            "a quote that is opened in line 2, column 3 is closed in line 3, column 3, before other",
        ),
        (['"a,b', "1,2"], "a quote is opened in line 1, column 1 and never closed"),
        (["a,b", '"x', 'y",2', '3,"4'], "a quote is opened in line 4, column 3 and never closed"),
        (["a,b,c", *['1,2,"x', *["3,4,5"] * 40, '6,7,8"']], "opened in line 2, column 5 holds what looks like rows"),
        (["a,b,c", *['1,2,"x', *["3,4,5"] * 40, '6,7"']], "opened in line 2, column 5 holds what looks like rows"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 16, BLOCK_BYTES])
def test_a_quote_out_of_place_is_found(lines: list[str], where: str, end: str, size: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(text_module, "HEAD_BYTES", 8)
    if "looks like" in where and (end == "\r\n" or size < 100):
        return  # it is looked for in whole blocks
    data = end.join(lines).encode()
    for read in (rows_of, lambda table: list(table.rows())):
        with pytest.raises(SourceError, match=where) as caught:
            read(TextTable(io.BytesIO(data), "t.csv", ".csv", size=size))
        assert len(str(caught.value)) < 300


def test_texts_of_many_lines_and_quotes_within_a_line_are_read(tmp_path: Path) -> None:
    poem = "\n".join(f"verse {i}, and more" for i in range(100))
    rows = [["1.jpg", poem, ""], ["2.jpg", 'a "b" c', '5" pipe'], ["3.jpg", "x", ""]]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "note"], *rows[:1]])
        file.write('2.jpg,a "b" c,5" pipe\n"3".jpg,"x",\n')
    assert read_by_source(tmp_path / "t.csv") == [*rows[:2], ["3.jpg", "x", ""]]


def test_a_long_unclosed_quote_is_a_short_message(tmp_path: Path) -> None:
    with open(tmp_path / "t.csv", "w") as file:
        file.write('path,label\n1.jpg,"a\n')
        file.writelines(["2.jpg,b\n", "x" * 40_000_000])
    refused = run("map", "--db", tmp_path / "m.sqlite", "--source", f"a=table:{tmp_path}/t.csv", code=1)
    assert (
        "a row is longer than 16 MiB, from line 2 on, since line 2, column 7 has a quote that is left open"
        in refused.stderr
    )
    assert len(refused.stderr) < 500
    assert not (tmp_path / "m.sqlite").exists()


# Tables of the wrong kind


TABLE = "path,label\n1.jpg,a\n"
WRONG: list[tuple[str, bytes, str]] = [
    ("t.csv", TABLE.encode("utf-16"), r"is UTF-16 text.* iconv -f utf-16 -t utf-8"),
    ("t.csv", TABLE.encode("utf-16-le"), r"is UTF-16 text.* iconv -f utf-16le -t utf-8"),
    ("t.csv", TABLE.encode("utf-16-be"), r"is UTF-16 text.* iconv -f utf-16be -t utf-8"),
    ("t.csv", TABLE.encode("utf-32"), r"is UTF-32 text.* iconv -f utf-32 -t utf-8"),
    ("t.tsv", TABLE.replace(",", "\t").encode("utf-16"), "is UTF-16 text"),
    ("t.jsonl", '{"path": "1.jpg"}\n'.encode("utf-16"), "is UTF-16 text, not lines of JSON"),
    ("t.csv", "path,label\n1.jpg,é\n".encode("latin-1"), r"not UTF-8 text; convert it, .* iconv -f latin1 .*line 2"),
    ("t.csv", "path,é\n1.jpg,\n".encode("cp1252"), r"not UTF-8 text; convert it, .*line 1"),
    (
        "t.csv",
        b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0[Content_Types].xml",
        "is an Excel workbook.*; save the sheet as CSV",
    ),
    ("t.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "is an Excel workbook .*; save the sheet as CSV"),
    ("t.csv", gzip.compress(TABLE.encode(), mtime=0), "is compressed by gzip.*let the name of a table end in .gz"),
    ("t.tsv", bz2.compress(TABLE.encode()), "is compressed by bzip2.*let the name of a table end in .bz2"),
    ("t.csv", b"<!DOCTYPE html>\n<html><body>404</body></html>", "is a page of HTML.*; download the file again"),
    ("t.jsonl", b"<html>\n", "is a page of HTML"),
    ("t.csv", b'<?xml version="1.0"?>\n', "is XML"),
    ("t.csv", b'[{"path": "1.jpg"}]', "is JSON.*jsonl"),
    ("t.csv", b'{"path": "1.jpg"}\n', "is JSON.*jsonl"),
    ("t.jsonl", b'[\n  {"path": "1.jpg"}\n]', "is one JSON list, not lines of JSON; .*jq -c"),
    ("t.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a pointer of Git LFS.*git lfs pull"),
    ("t.csv", b"PAR1" + bytes(40) + b"PAR1", "is a Parquet file.*parquet"),
    ("t.parquet", TABLE.encode(), "is text, not Parquet"),
    ("t.parquet", gzip.compress(b"x", mtime=0), "is compressed by gzip, not Parquet"),
    ("t.csv", b"\xff\xd8\xff\xe0" + bytes(40), "is a JPEG image"),
    ("t.csv", b"SQLite format 3\0" + bytes(40), "is an SQLite database"),
    ("t.csv", b"", "has no rows; expected a line that names the columns"),
    ("t.csv", b"\n\r\n\n", "has no rows; expected a line that names the columns"),
    ("t.csv", b"path,label\n", "has no rows below the line that names its columns"),
    ("t.csv", b"path,label\n\n\n", "has no rows below the line that names its columns"),
    ("t.csv", b"path,a,a\n1,2,3\n", "column 'a' occurs twice, as columns 2 and 3; rename one"),
    ("t.csv", b"path,label\n1,2\n\n3,4,5\n", r"a row has 3 columns where 2 are expected \(3,4,5\), line 4"),
    ("t.csv", b'path,label\n1,"2\n2"\n3\n', r"a row has 1 columns where 2 are expected \(3\), line 4"),
    (
        "t.tsv",
        b'path\tlabel\n1\t"2\n2"\n',
        "columns where 2 are expected .*line 3; .*if its cells are quoted, quote all names",
    ),
    ("t.csv.gz", gzip.compress(TABLE.encode(), mtime=0)[:-12], "cannot be read .*damaged, cut short"),
]


@pytest.mark.parametrize(("name", "content", "message"), WRONG)
@pytest.mark.parametrize("use", ["source", "metadata"])
def test_a_table_of_the_wrong_kind_gets_its_word(
    name: str, content: bytes, message: str, use: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        list_all(f"a=table:{file}") if use == "source" else load_metadata(file, "path")
    assert str(caught.value).startswith(f"{file}: ")
    assert len(str(caught.value)) < 400 + len(str(file))


@pytest.mark.parametrize("name", ["list.txt", "train.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1.jpg a\n".encode("utf-16"), "is UTF-16 text"),
        (gzip.compress(b"1.jpg a\n", mtime=0), "is compressed by gzip"),
        (b"<html>", "is a page of HTML"),
    ],
)
def test_lists_and_annotations_of_the_wrong_kind_get_their_word(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    for kind in ("list",) if name.endswith("txt") else ("openmmlab", "inat21"):
        with pytest.raises(SourceError, match=message):
            list_all(f"a={kind}:{tmp_path / name}")


@pytest.mark.parametrize("columns", [2, 20_000])
def test_no_message_is_long(columns: int, tmp_path: Path) -> None:
    long = "x" * 100_000
    header = ",".join(f"{long if i == 1 else 'c'}{i}" for i in range(columns))
    for text in (
        f"{header}\n{header}\n",
        f"path,{header}\n{header}\n",
        f"path,b\n{long}\n",
        f"{long}\n1\n",
        f'"{long}\n1\n',
    ):
        (tmp_path / "t.csv").write_text(text)
        for command in (
            ("map", "--db", tmp_path / "m.sqlite", "--source", f"a=table:{tmp_path}/t.csv"),
            (
                "map",
                "--db",
                tmp_path / "m.sqlite",
                "--source",
                f"a=list:{tmp_path}/t.csv",
                "--metadata",
                tmp_path / "t.csv",
                "--on",
                "no",
            ),
        ):
            code = 1 if command[4].startswith("a=table") else None
            refused = run_any(*command)
            assert len(refused.stderr) < 2_000, refused.stderr[:300]
            assert code is None or refused.code == code
    assert shorten("a\nb\0" * 100, 5) == "a\\nb\\x00a…"
    assert shorten_list(range(20)).endswith(", 11 and 8 more")


def run_any(*arguments: object) -> Any:
    for code in (1, 2, 0):
        try:
            return run(*arguments, code=code)
        except AssertionError:
            continue
    raise AssertionError("no exit code fits")


# What a file declares of itself


META = """<archive xmlns="http://rs.tdwg.org/dwc/text/"><core encoding="UTF-8" fieldsTerminatedBy="{delimiter}"
 linesTerminatedBy="\\n" fieldsEnclosedBy='{quote}' ignoreHeaderLines="1" rowType="http://rs.tdwg.org/dwc/terms/Taxon">
 <files><location>taxon.txt</location></files><id index="0"/></core></archive>"""
TAXA = [["taxonID", "scientificName", "kingdom"], ["1", 'Aus "x" bus', "Animalia"], ["2", 'Cus "dus', "Plantae"]]


def write_archive(folder: Path, packing: str, delimiter: str, quote: str) -> Path:
    """Write taxon.txt and the meta.xml that declares how it is written, in a folder, a zip or a tar."""
    lines = io.StringIO()
    if quote:
        csv.writer(lines, delimiter=delimiter, lineterminator="\n").writerows(TAXA)
    else:
        lines.writelines(delimiter.join(row) + "\n" for row in TAXA)
    declared = META.format(delimiter="\\t" if delimiter == "\t" else delimiter, quote=quote)
    parts = {"taxon.txt": lines.getvalue(), "meta.xml": declared}
    place = folder / "archive"
    if packing == "folder":
        place.mkdir()
        for name, text in parts.items():
            (place / name).write_text(text)
    elif packing == "zip":
        place = folder / "archive.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for name, text in parts.items():
                archive.writestr(name, text)
    else:
        place = folder / "archive.tar.gz"
        with tarfile.open(place, "w:gz") as tar:
            for name, text in parts.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
    return place


@pytest.mark.parametrize("packing", ["folder", "zip", "tar.gz"])
@pytest.mark.parametrize(("delimiter", "quote"), [("\t", '"'), ("\t", ""), (",", '"'), (";", '"')])
def test_a_darwin_core_archive_declares_its_quotes(packing: str, delimiter: str, quote: str, tmp_path: Path) -> None:
    place = write_archive(tmp_path, packing, delimiter, quote)
    tables = [read_columns(part, {"name": ("scientificname",)}) for part in open_parts(place, "taxon.txt".__eq__)]
    assert [table["name"].to_pylist() for table in tables] == [[row[1] for row in TAXA[1:]]]
    open_names(NamesChoice((parse_names_file(f"dwca:{place}"),)), cache=tmp_path / "cache")


def test_a_table_beside_a_meta_xml_is_read_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "photos.tsv").write_text('path\tlabel\n1.jpg\t"a\tb"\n')
    (tmp_path / "meta.xml").write_text(META.format(delimiter="\\t", quote='"').replace("taxon.txt", "photos.tsv"))
    assert read_by_source(tmp_path / "photos.tsv") == [["1.jpg", "a\tb"]]
    (tmp_path / "meta.xml").write_text("<archive> of photos.tsv")
    with pytest.raises(SourceError, match=r"meta.xml: not XML .*; mend it, or take it away"):
        read_by_source(tmp_path / "photos.tsv")
    with pytest.raises(SourceError, match="are enclosed by '%' and separated by"):
        read_meta(META.format(delimiter="\\t", quote="%").replace("taxon.txt", "t.tsv").encode(), "meta.xml")


# Whole numbers that a gap made floats


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["12.0", "", "7.0"], ["12", None, "7"]),
        (["-1.0", "0.0"], ["-1", "0"]),
        (["1.0", "1.10", "2.0"], ["1.0", "1.10", "2.0"]),
        (["12.0", "12.5"], ["12.0", "12.5"]),
        (["12.0", "12"], ["12.0", "12"]),
        (["12.0", "x"], ["12.0", "x"]),
        (["12.00"], ["12.00"]),
        (["", ""], [None, None]),
    ],
)
@pytest.mark.parametrize("filler", [0, 2_000])
@pytest.mark.usefixtures("small_blocks")
def test_a_column_of_whole_floats_is_one_of_whole_numbers(
    cells: list[str], read: list[str | None], filler: int, tmp_path: Path
) -> None:
    file = tmp_path / "t.csv"
    lead = [cells[0]] * filler  # so that the first block does not decide
    file.write_text("x,path\n" + "".join(f"{cell},p\n" for cell in [*lead, *cells]))
    found = [cell for part in read_text(file) for cell in part["x"].to_pylist()]
    assert found[filler:] == read
    assert [row[0] or None for _, row in read_rows(file, ".csv")[1]][filler:] == read


def test_numbers_are_read_once_where_the_first_part_decides() -> None:
    asked = []

    def read(columns: Any) -> Any:
        asked.append(columns)
        for cells in (["1.5", "1.0"], ["2.0", "2.0"]), (["2.5", "x"], ["3.0", "y"]):
            yield pa.table({"a": cells[0], "b": cells[1], "c": ["", "z"]}).select(columns or ["a", "b", "c"])

    assert [part["b"].to_pylist() for part in read_whole_numbers(read)] == [["2.0", "2.0"], ["3.0", "y"]]
    assert asked == [None, ["b"]]


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (12.0, "12"),
        (-0.0, "0"),
        (0.001, "0.001"),
        (1e20, "1e+20"),
        (1.10, "1.1"),
        (float(1 << 53), str(1 << 53)),
        (5, "5"),
    ],
)
def test_whole_floats_are_whole_in_every_table(value: float, whole: str, tmp_path: Path) -> None:
    assert str(as_whole(value)) == whole
    pq.write_table(pa.table({"path": ["1"], "label": [value], "n": [value], "group": [value]}), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text(json.dumps({"path": "1", "label": value, "n": value, "group": value}))
    for name in ("t.parquet", "t.jsonl"):
        [row] = list_all(f"a=table:{tmp_path / name}")
        assert (row["label"], row["group_id"], json.loads(row["metadata"])["n"]) == (whole, whole, value)
        assert f'"n":{whole}' in row["metadata"]


@pytest.mark.parametrize("suffix", ["duckdb", "sqlite"])
def test_joins_know_whole_numbers_however_they_are_written(suffix: str, image_tree: Path, tmp_path: Path) -> None:
    rows = "".join(f"images/fish/{i}.jpg,{i}.0\n" for i in range(3))
    (tmp_path / "t.csv").write_text(f"path,observation_id\n{rows}images/birds/0.jpg,\n")
    pq.write_table(pa.table({"group_id": [0, 1, 2], "common_name": ["a", "b", "c"]}), tmp_path / "said.parquet")
    db = tmp_path / f"m.{suffix}"
    run(
        "map",
        "--db",
        db,
        "--source",
        f"a=table:{tmp_path}/t.csv",
        "--metadata",
        tmp_path / "said.parquet",
        "--on",
        "group_id",
    )
    from shardforge.mapping import open_mapping

    with open_mapping(db) as mapping:
        found = mapping.rows("SELECT group_id, common_name FROM images ORDER BY group_id")
    assert sorted(found, key=str) == sorted([("0", "a"), ("1", "b"), ("2", "c"), (None, None)], key=str)


def test_exclusion_lists_are_read_by_the_same_rules(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("id,reason\n12.0,blurred\n7.0,\n,\n")
    assert [(entry.text, entry.reason) for entry in ExclusionList("x", tmp_path / "ids.csv").read()] == [
        ("12", "blurred"),
        ("7", None),
    ]
    (tmp_path / "open.csv").write_text('path\n"1.jpg\n2.jpg\n')
    with pytest.raises(UsageError, match="a quote is opened in line 2, column 1 and never closed"):
        ExclusionList("x", tmp_path / "open.csv").read()
