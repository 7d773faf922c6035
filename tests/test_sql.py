"""`shardforge sql`: questions to a mapping, which nothing can change, and copies of it in other forms."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pipeline import run, start

from shardforge.mapping import open_mapping
from shardforge.queries import list_questions

ENGINES = ["duckdb", "sqlite"]


@pytest.fixture(scope="module", params=ENGINES)
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a mapping of ten images, with a split, that all tests of an engine share."""
    path = tmp_path_factory.mktemp("sql") / f"mapping.{request.param}"
    fill(path)
    return path


def fill(path: Path) -> None:
    keys = [f"{i:024x}" for i in range(10)]
    with open_mapping(path, write=True, create=True) as mapping:
        columns = {
            "key": keys,
            "source": ["s"] * 10,
            "path": [f"a/{i}.jpg" for i in range(10)],
            "label": ['é, "x"\n', *["b"] * 8, None],
            "bytes": list(range(10)),
            "mtime": [2**60 + i for i in range(10)],
            "content_hash": ["c"] * 2 + keys[2:],
            "reason": pa.array([None] * 9 + ["truncated"]),
        }
        mapping.insert("images", pa.table(columns))
        mapping.insert("splits", pa.table({"name": ["default"] * 9, "key": keys[:9], "split": ["train"] * 9}))
        mapping.execute("INSERT INTO sources VALUES ('s', 'folder', '/', NULL, '{}', NULL, NULL, NULL, 'now', '1')")


def test_every_statement_for_questions_runs_by_name_and_by_file(db: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    run("duplicates", "--db", db, "--workers", 0)  # leakage_by_near_duplicates needs its tables
    assert len(list_questions()) > 20
    for name, meaning in list_questions().items():
        by_name = run("sql", db, name)
        by_file = run("sql", db, root / "sql" / f"{name}.sql")
        assert sorted(by_name.stdout.splitlines()) == sorted(by_file.stdout.splitlines())  # not all of them sort
        assert by_name.stderr == ""
        assert meaning


def test_the_statements_are_listed_where_none_is_named(db: Path) -> None:
    assert run("sql", db, "--json").stdout == json.dumps(list_questions(), ensure_ascii=False, indent=2) + "\n"
    assert "count_by_class   " in run("sql", db).stdout


def test_a_table_has_aligned_columns_and_null_is_empty(db: Path) -> None:
    asked = run("sql", db, "-c", "SELECT label, count(*) AS images FROM images GROUP BY label ORDER BY 2, 1").stdout
    assert asked.splitlines()[0] == "label     images"
    assert set(asked.splitlines()[1:]) == {"               1", 'é, "x"\\n       1', "b              8"}


def test_more_columns_than_a_line_holds_become_blocks(db: Path) -> None:
    asked = run("sql", db, "-c", "SELECT * FROM images ORDER BY key LIMIT 2").stdout.splitlines()
    assert asked[0] == "row 1"
    assert asked[1] == f"  key           {'0' * 24}"
    assert asked.count("row 2") == 1
    assert max(map(len, asked)) <= 100


def test_sha256_is_there_in_both_engines(db: Path) -> None:
    asked = run("sql", db, "-c", "SELECT sha256('é') AS x", "--csv").stdout
    assert asked == f"x\n{hashlib.sha256('é'.encode()).hexdigest()}\n"


def test_a_question_may_make_bytes_that_are_no_text(tmp_path: Path) -> None:
    with open_mapping(tmp_path / "m.sqlite", write=True, create=True):
        pass
    asked = run("sql", tmp_path / "m.sqlite", "-c", "SELECT CAST(x'61ff' AS TEXT) AS x", "--csv").stdout
    assert asked == "x\na\\xff\n"


def test_csv_and_json_hold_what_the_mapping_holds(db: Path) -> None:
    query = "SELECT key, label, bytes, mtime, label FROM images ORDER BY key"
    with open_mapping(db) as mapping:
        rows = mapping.rows(query)
    [header, *lines] = csv.reader(io.StringIO(run("sql", db, "-c", query, "--csv").stdout))
    assert header == ["key", "label", "bytes", "mtime", "label"]
    assert lines == [["" if value is None else str(value) for value in row] for row in rows]
    objects = json.loads(run("sql", db, "-c", query, "--json").stdout)
    assert [tuple(each.values()) for each in objects] == rows
    assert list(objects[0]) == ["key", "label", "bytes", "mtime", "label_2"]
    assert run("sql", db, "-c", "SELECT key FROM images WHERE key = ''", "--json").stdout == "[\n]\n"


def test_values_that_json_and_text_have_no_form_for(tmp_path: Path) -> None:
    open_mapping(tmp_path / "m.duckdb", write=True, create=True).close()
    query = (
        "SELECT 'nan'::DOUBLE AS a, '\\xFF'::BLOB AS b, [1, NULL] AS c, {'x': true} AS d, DATE '2026-01-02' AS e, "
        "1.50::DECIMAL(9, 2) AS f, true AS g, sum(range) AS h, NULL AS i FROM range(3)"
    )
    [found] = json.loads(run("sql", tmp_path / "m.duckdb", "-c", query, "--json").stdout)
    assert found == {
        "a": "nan",
        "b": "ff",
        "c": [1, None],
        "d": {"x": True},
        "e": "2026-01-02",
        "f": "1.50",
        "g": True,
        "h": 3,
        "i": None,
    }
    line = run("sql", tmp_path / "m.duckdb", "-c", query, "--csv").stdout.splitlines()[1]
    assert line == 'nan,ff,"[1, null]","{""x"": true}",2026-01-02,1.50,true,3,'


def test_statements_of_a_script_share_temporary_tables_and_each_prints_its_rows(db: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text(
        "\ufeffCREATE TEMP TABLE t AS SELECT 'a;b' AS x; -- one; two\nSELECT x FROM t;\n/* ; */ SELECT 2 AS y\n"
    )
    assert run("sql", db, script).stdout == "x\na;b\n\ny\n2\n"
    assert run("sql", db, script, "--csv").stdout == "x\na;b\n\ny\n2\n"


def test_a_script_comes_from_standard_input(db: Path) -> None:
    command = [sys.executable, "-m", "shardforge", "sql", str(db), "-", "--csv", "--set", "label=b"]
    asked = subprocess.run(
        command, input="SELECT count(*) FROM images WHERE label = $label", capture_output=True, text=True
    )
    assert (asked.returncode, asked.stdout.splitlines()[1:]) == (0, ["8"]), asked.stderr


MISTAKES = [
    ("SELEC 1", r"--query, line 1: .*(SELEC|selec)"),
    ("SELECT 1;\n\nSELECT foo\nFROM images", r"--query, lines? [34].*foo"),
    ("SELECT * FROM nowhere", r"--query, line 1: .*nowhere"),
    ("SELECT 'open", r"--query, line 1: "),
    ("SELECT $x", r"--query, line 1: .*; give it by --set NAME=VALUE"),
    ("", r"--query: holds no statement"),
    (" ; -- nothing\n /* at all */ ", r"--query: holds no statement"),
    ("SELECT count(* FROM images", r"--query, line 1: "),
]


@pytest.mark.parametrize(("query", "message"), MISTAKES, ids=[query for query, _ in MISTAKES])
@pytest.mark.parametrize("output", [[], ["--json"], ["--csv"]], ids=["table", "json", "csv"])
def test_a_mistake_is_one_sentence_with_its_line(db: Path, query: str, message: str, output: list[str]) -> None:
    told = run("sql", db, "-c", query, *output, code=2).stderr
    assert told.startswith("Error: ")
    assert told.count("\n") == 1
    assert len(told) < 700
    assert re.search(message, told), told


REFUSED = {
    "both": [
        "DELETE FROM images",
        "UPDATE images SET label = 'x'",
        "INSERT INTO splits SELECT * FROM splits",
        "DROP TABLE images",
        "CREATE TABLE mine (x INTEGER)",
        "CREATE VIEW mine AS SELECT 1",
        "ALTER TABLE images DROP COLUMN label",
        "ATTACH '{out}' AS other",
    ],
    "duckdb": [
        "COPY images TO '{out}'",
        "COPY images FROM '{secret}'",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
        "SELECT * FROM read_csv('https://localhost/x.csv')",
        "SELECT * FROM glob('/*')",
        "EXPORT DATABASE '{out}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET autoinstall_known_extensions = true",
        "SET memory_limit = '1TB'",
        "SET temp_directory = '{out}'",
    ],
    "sqlite": [
        "VACUUM INTO '{out}'",
        "VACUUM",
        "SELECT load_extension('{secret}')",
        "SELECT load_extension('{secret}') FROM images",
        "PRAGMA journal_mode = WAL",
        "PRAGMA writable_schema = ON",
        "PRAGMA temp_store_directory = '{out}'",
        "CREATE VIRTUAL TABLE temp.f USING fts5(x)",
        "DETACH main",
    ],
}


@pytest.mark.parametrize(
    ("engine", "query"), [(engine, query) for engine in ENGINES for query in REFUSED["both"] + REFUSED[engine]]
)
def test_a_question_changes_nothing_and_opens_nothing_else(engine: str, query: str, tmp_path: Path) -> None:
    db = tmp_path / f"mapping.{engine}"
    fill(db)
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    told = run("sql", db, "-c", query.format(out=tmp_path / "out", secret=tmp_path / "secret.csv"), code=2).stderr
    assert told.endswith("; `shardforge sql` reads the mapping and does nothing else\n"), told
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["secret.csv", "name", "monkeypatch"])
def test_a_name_in_a_question_is_a_table_and_neither_a_file_nor_a_variable(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_mapping(tmp_path / "m.duckdb", write=True, create=True).close()
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    told = run("sql", "m.duckdb", "-c", f"SELECT * FROM '{name}'", code=2).stderr
    assert re.search("does not exist|Cannot access file", told), told


USES = [
    (["count_by_clas"], "count_by_clas: neither a file nor a statement for questions; `shardforge sql "),
    (["create_split_assigned"], "create_split_assigned: neither a file nor a statement for questions"),
    (["../sql/count_by_class"], "../sql/count_by_class: neither a file nor a statement"),
    (["/dev"], "/dev: cannot be read (Is a directory)"),
    (["/dev/zero"], "/dev/zero: more than 16 MiB"),
    (["count_by_class", "-c", "SELECT 1"], "Give either NAME, FILE or -, or --query."),
    (["count_by_class", "--json", "--csv"], "Give either --json or --csv."),
    (["count_by_class", "--set", "x=1"], "--set x: sql/count_by_class.sql has no $x"),
    (["-c", "SELECT $x", "--set", "x"], "--set x: expected NAME=VALUE"),
    (["-c", "SELECT '$x'", "--set", "x y=1"], "--set x y=1: expected NAME=VALUE"),
    (["-c", os.fsdecode(b"SELECT '\xff'")], "is no UTF-8 text"),
    (["count_by_class", "--convert", "new.duckdb"], "--convert copies a mapping and asks it nothing"),
]


@pytest.mark.parametrize(("arguments", "message"), USES, ids=[message for _, message in USES])
def test_wrong_uses(db: Path, arguments: list[str], message: str) -> None:
    assert message in run("sql", db, *arguments, code=2).stderr


def test_a_file_of_other_text_is_refused(db: Path, tmp_path: Path) -> None:
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xe9'")
    assert "latin.sql: not UTF-8 text" in run("sql", db, tmp_path / "latin.sql", code=2).stderr


MANY = {
    ".duckdb": "SELECT range AS x, sha256(range::VARCHAR) AS y FROM range(1000000000000)",
    ".sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x, sha256(x || '') FROM n",
}


@pytest.mark.parametrize("output", [[], ["--json"], ["--csv"]], ids=["table", "json", "csv"])
def test_rows_stream(db: Path, output: list[str]) -> None:
    """The first rows are there, and the last are never; a reader that leaves ends the question."""
    with start("sql", db, "-c", MANY[db.suffix], *output) as asked:
        assert asked.stdout is not None
        assert asked.stderr is not None
        assert all(asked.stdout.readline() for _ in range(3))
        asked.stdout.close()
        assert asked.wait(60) == 141
        assert asked.stderr.read() == ""


def copy_of(db: Path, new: Path) -> dict[str, list]:
    run("sql", db, "--convert", new)
    return contents(new)


def contents(db: Path) -> dict[str, list]:
    """Return the rows of every table but the one that says who made the file, in one order."""
    with open_mapping(db) as mapping:
        tables = sorted({table for table, _ in mapping.columns()} - {"mapping_info"})
        columns = {table: sorted(column for at, column in mapping.columns() if at == table) for table in tables}
        asked = {table: ", ".join(f'"{column}"' for column in columns[table]) for table in tables}
        return {table: sorted(mapping.rows(f"SELECT {asked[table]} FROM {table}"), key=repr) for table in tables}


def test_a_mapping_goes_through_both_engines_and_stays_what_it_is(db: Path, tmp_path: Path) -> None:
    run("duplicates", "--db", db, "--workers", 0)
    before = contents(db)
    assert len(before["images"]) == 10
    there = tmp_path / f"there{'.sqlite' if db.suffix == '.duckdb' else '.duckdb'}"
    assert copy_of(db, there) == before
    assert copy_of(there, tmp_path / f"back{db.suffix}") == before
    assert copy_of(db, tmp_path / f"same{db.suffix}") == before
    assert {path.name for path in tmp_path.iterdir()} == {there.name, f"back{db.suffix}", f"same{db.suffix}"}


def test_a_copy_goes_on_where_the_mapping_was(tmp_path: Path, image_tree: Path) -> None:
    db = tmp_path / "mapping.sqlite"
    run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    run("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 30)
    run("sql", db, "--convert", tmp_path / "new.duckdb")
    run("sql", tmp_path / "new.duckdb", "--convert", tmp_path / "again.sqlite")
    for copy in ("new.duckdb", "again.sqlite"):
        mapped = json.loads(run("map", "--db", tmp_path / copy, "--workers", 0, "--json").stdout)
        assert mapped["sources"]["tree"]["unchanged"] == 12
        assert (
            "Nothing changed"
            in run(*("split", "--db", tmp_path / copy, "--seed", 17, "--rule", "exact", "--val-split", 30)).stdout
        )
    with open_mapping(tmp_path / "again.sqlite") as mapping:
        indexed = mapping.rows("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'images'")
    assert set(indexed) == {("images_key",), ("images_content_hash",)}


def test_what_is_of_no_mapping_is_left_and_named(db: Path, tmp_path: Path) -> None:
    mine = tmp_path / f"mine{db.suffix}"
    run("sql", db, "--convert", mine)
    with open_mapping(mine, write=True) as mapping:
        mapping.execute("CREATE TABLE remarks (x INTEGER); ALTER TABLE images ADD COLUMN stars INTEGER;")
    told = run("sql", mine, "--convert", tmp_path / "new.duckdb").stderr
    assert "Warning: the column images.stars is of no mapping and was not copied" in told
    assert "Warning: the table remarks is of no mapping and was not copied" in told


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("there.duckdb", "there.duckdb: exists; give --convert a new name"),
        ("link.sqlite", "link.sqlite: exists; give --convert a new name"),
        ("dangling.sqlite", "--convert dangling.sqlite: a link to gone, which is not there"),
        ("no/new.duckdb", "no/new.duckdb: the folder no does not exist; make it first"),
        ("new.csv", "new.csv: the suffix chooses the database engine"),
        ("s3://bucket/new.duckdb", "--convert s3://bucket/new.duckdb: a URL"),
        ("", "--convert: is empty"),
    ],
)
def test_a_copy_replaces_nothing(
    db: Path, tmp_path: Path, new: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.duckdb").write_text("mine")
    Path("link.sqlite").symlink_to("there.duckdb")
    Path("dangling.sqlite").symlink_to("gone")
    assert message in run("sql", db, "--convert", new, code=2).stderr
    assert Path("there.duckdb").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("suffix", [".duckdb", ".sqlite"])
def test_a_copy_that_fails_leaves_nothing(db: Path, tmp_path: Path, suffix: str) -> None:
    little_room = ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh", sys.executable, "-m", "shardforge"]
    command = [*little_room, "sql", str(db), "--convert", str(tmp_path / f"new{suffix}")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
    assert list(tmp_path.iterdir()) == []


def lose_a_letter(rows: pa.Table) -> pa.Table:
    """Return the same rows, in which the first text has one letter less."""
    column = rows["key"].to_pylist() if "key" in rows.column_names else []
    if not column:
        return rows
    return rows.set_column(0, "key", pa.array([column[0][:-1], *column[1:]]))


def test_a_copy_that_is_another_is_never_kept(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = type(open_mapping(db)).batches
    monkeypatch.setattr("shardforge.mapping.base.Mapping.batches", lambda *given: map(lose_a_letter, stream(*given)))
    told = run("sql", db, "--convert", tmp_path / "new.duckdb", code=1).stderr
    assert "the copy of its table" in told
    assert list(tmp_path.iterdir()) == []
