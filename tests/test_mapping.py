from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pipeline import as_nobody, open_to_all

from shardforge.errors import DatasetError, MappingError, UsageError
from shardforge.mapping import Mapping, open_mapping
from shardforge.mapping.known_sources import read_known
from shardforge.mapping.lock import _find_holder

QUERIES = [
    "count_by_class",
    "count_by_license",
    "count_by_reason",
    "count_by_source",
    "count_long_tail",
    "list_duplicates",
    "list_failures",
    "list_notes",
]


@pytest.fixture(params=["duckdb", "sqlite"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"mapping.{request.param}"


def create(db: Path) -> Mapping:
    return open_mapping(db, write=True, create=True)


def images(keys: list[str], **columns: list) -> pa.Table:
    return pa.table({"key": keys, "source": ["s"] * len(keys), "path": keys, **columns})


def test_rows_come_back_as_they_were_inserted(db: Path) -> None:
    rows = images(["a", "b", "c"], **{"class": ["x", None, "é"], "offset": [1, None, 2**40]})
    with create(db) as mapping, mapping.transaction():
        mapping.insert("images", rows)
    with open_mapping(db) as mapping:
        found = mapping.rows('SELECT key, "class", "offset", width FROM images ORDER BY key')
    assert found == [("a", "x", 1, None), ("b", None, None, None), ("c", "é", 2**40, None)]
    assert list(db.parent.iterdir()) == [db]


def test_batches_stream_with_the_types_of_a_record(db: Path) -> None:
    with create(db) as mapping:
        mapping.insert("images", images([f"{i:03d}" for i in range(250)], width=pa.array(range(250), pa.int32())))
        statement = "SELECT key, width, mtime, label FROM images WHERE width >= $least ORDER BY key"
        batches = list(mapping.batches(statement, size=100, least=50))
    assert sum(batch.num_rows for batch in batches) == 200
    assert {batch.schema for batch in batches} == {
        pa.schema({"key": pa.string(), "width": pa.int32(), "mtime": pa.int64(), "label": pa.string()})
    }
    assert [key for batch in batches for key in batch["key"].to_pylist()] == [f"{i:03d}" for i in range(50, 250)]


def test_an_abandoned_stream_blocks_nothing(db: Path) -> None:
    with create(db) as mapping:
        mapping.insert("images", images([f"{i:05d}" for i in range(10_000)]))
        next(mapping.batches("SELECT key FROM images", size=10))
        assert mapping.rows("SELECT count(*) FROM images") == [(10_000,)]


def test_sha256_is_the_same_in_both_engines(db: Path) -> None:
    with create(db) as mapping:
        [row] = mapping.rows("SELECT sha256($text), sha256(CAST(NULL AS VARCHAR))", text="é")
    assert row == ("4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c", None)


def spoil(mapping: Mapping) -> None:
    with mapping.transaction():
        mapping.insert("images", images(["a"]))
        mapping.execute("UPDATE images SET label = 'x'; DELETE FROM mapping_info;")
        raise ZeroDivisionError


def test_a_transaction_that_raises_leaves_nothing(db: Path) -> None:
    with create(db) as mapping:
        with pytest.raises(ZeroDivisionError):
            spoil(mapping)
        assert mapping.rows("SELECT count(*) FROM images") == [(0,)]
        assert mapping.rows("SELECT count(*) FROM mapping_info") == [(1,)]


def test_a_script_may_hold_semicolons_in_text_and_comments(db: Path) -> None:
    with create(db) as mapping:
        mapping.execute("-- one; two\nCREATE TEMP TABLE t (x VARCHAR);\nINSERT INTO t VALUES ('a;b');\n-- end; of it\n")
        assert mapping.rows("SELECT x FROM t") == [("a;b",)]


def test_a_reader_cannot_write(db: Path) -> None:
    create(db).close()
    with open_mapping(db) as mapping, pytest.raises((MappingError, duckdb.Error)):
        mapping.execute("DELETE FROM images")


@pytest.mark.parametrize("name", QUERIES)
def test_the_queries_for_users_run_by_hand_and_agree(name: str, tmp_path: Path) -> None:
    found = []
    for engine in ("duckdb", "sqlite"):
        db = tmp_path / f"mapping.{engine}"
        with create(db) as mapping:
            mapping.execute(
                "INSERT INTO sources VALUES ('s', 'folder', '/r', NULL, '{}', NULL, NULL, NULL, 'now', '1')"
            )
            mapping.execute("INSERT INTO outcomes VALUES ('/out', 'b', 'corrupt'), ('/out', 'a', 'ok')")
            mapping.execute("INSERT INTO notes VALUES (NULL, 'a', 'damaged EXIF'), ('/out', 'a', 'no profile')")
            mapping.insert(
                "images",
                images(
                    ["a", "b", "c", "d"],
                    bytes=[1, 2, 3, 4],
                    label=["x", "x", "y", "y"],
                    license=["CC0", "CC0", None, None],
                    reason=pa.array([None, None, None, "truncated"]),
                    content_hash=["1", "1", "2", None],
                ),
            )
            text = mapping.query(name)
        assert text.startswith(f"-- {name}.sql: one row is ")
        if engine == "duckdb":
            with duckdb.connect(db, read_only=True) as connection:
                found.append(connection.execute(text).fetchall())
        else:
            connection = sqlite3.connect(db)
            found.append(connection.execute(text).fetchall())
            connection.close()
    assert found[0] == found[1]
    assert found[0]


def test_missing_mapping_says_to_map_first(db: Path) -> None:
    with pytest.raises(MappingError, match=r"no such mapping; run `shardforge map --db .* first"):
        open_mapping(db)
    assert not db.exists()


def test_suffix_chooses_the_engine() -> None:
    with pytest.raises(UsageError, match=r"mapping.csv: .* end it in .duckdb, .sqlite, .sqlite3, .db"):
        open_mapping(Path("mapping.csv"))


def test_folder_must_exist(db: Path) -> None:
    with pytest.raises(UsageError, match="nowhere does not exist; make it first"):
        create(db.parent / "nowhere" / db.name)


def test_a_file_that_is_no_database(db: Path) -> None:
    db.write_bytes(b"no database at all " * 1000)
    with pytest.raises(MappingError, match=r"not a (DuckDB|SQLite) database"):
        create(db)


def test_a_database_that_is_no_mapping(db: Path) -> None:
    with duckdb.connect(db) if db.suffix == ".duckdb" else sqlite3.connect(db) as connection:
        connection.execute("CREATE TABLE mine (x INTEGER)")
    if db.suffix == ".sqlite":
        connection.close()
    with pytest.raises(MappingError, match="no table mapping_info"):
        create(db)


def damage(db: Path, statement: str) -> None:
    """Change a mapping of one source behind the back of the library."""
    columns = "name, kind, root, options, scanned_at, tool_version"
    with create(db) as mapping:
        mapping.execute(f"INSERT INTO sources ({columns}) VALUES ('s', 'folder', '/', '{{}}', '', '')")
        mapping.execute(statement)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM mapping_info", "mapping_info has 0 rows where one is expected"),
        ("DROP TABLE images", r"a mapping without the column images\.author and 25 more columns; restore a copy"),
        ("ALTER TABLE images DROP COLUMN label", r"a mapping without the column images\.label; restore a copy"),
        ("UPDATE sources SET options = '{'", r"sources\.options holds '\{' where a JSON object is expected"),
        ("UPDATE sources SET options = '[]'", r"sources\.options holds '\[\]' where a JSON object is expected"),
    ],
)
def test_a_mapping_that_lacks_something_says_what(db: Path, statement: str, message: str) -> None:
    damage(db, statement)
    with pytest.raises(MappingError, match=message), open_mapping(db) as mapping:
        read_known(mapping)


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_file_is_named(db: Path, cut: bool) -> None:
    with create(db) as mapping:
        mapping.insert("images", images([hashlib.sha256(b"%d" % i).hexdigest() for i in range(20_000)]))
    data = db.read_bytes()
    half = len(data) // 2
    db.write_bytes(data[:half] if cut else data[:half] + bytes(half))
    with pytest.raises(MappingError, match=rf"{db.name}: damaged .*; restore a copy"), open_mapping(db) as mapping:
        mapping.rows("SELECT min(key), max(path), count(DISTINCT source) FROM images")


#: In a process of its own, whose signals are those that it was born with.
INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
from shardforge.mapping import open_mapping

signal.signal(signal.SIGINT, signal.default_int_handler)
with open_mapping(Path(sys.argv[1]), write=True) as mapping:
    for read in (mapping.execute, mapping.rows, lambda sql: list(mapping.batches(sql))):
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            read(sys.argv[2])
        except KeyboardInterrupt:
            timer.join()
        else:
            raise SystemExit("the statement ended by itself")
    assert mapping.rows("SELECT count(*) FROM images") == [(0,)]
"""

LONG = {
    ".duckdb": "SELECT {} FROM (SELECT range AS x FROM range(1000000000000)) AS n",
    ".sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT {} FROM n",
}


@pytest.mark.parametrize("what", ["count(*)", "max(sha256('a' || x))"])
def test_ctrl_c_ends_a_statement(db: Path, what: str) -> None:
    with create(db):
        pass
    command = [sys.executable, "-c", INTERRUPTED, str(db), LONG[db.suffix].format(what)]
    subprocess.run(command, check=True, timeout=60)


def test_text_that_no_database_can_hold_is_refused(db: Path) -> None:
    with create(db) as mapping, pytest.raises(UsageError, match="is no UTF-8 text"):
        mapping.rows("SELECT $name", name="\udcff")
    with pytest.raises(UsageError, match="is not UTF-8 text, which a database cannot hold; rename it"):
        open_mapping(db.parent / os.fsdecode(b"\xff") / db.name)


def test_another_schema_version_is_refused(db: Path) -> None:
    with create(db) as mapping:
        mapping.execute("UPDATE mapping_info SET schema_version = 7, tool_version = '9.0'")
    with pytest.raises(MappingError, match=r"schema version 7, made by shardforge 9.0; this .* reads version 2: map"):
        open_mapping(db)


HOLD = """
import sys
from pathlib import Path
from shardforge.mapping import open_mapping
with open_mapping(Path(sys.argv[1]), write=True):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("write", [False, True])
def test_a_held_mapping_names_its_holder(db: Path, write: bool) -> None:
    create(db).close()
    command = [sys.executable, "-c", HOLD, str(db)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(MappingError, match=rf"in use by process {holder.pid} \(.* {db}\)") as caught:
            open_mapping(db, write=write)
        assert "\0" not in str(caught.value)
        assert holder.stdin is not None
        holder.stdin.close()
    open_mapping(db, write=write).close()


def test_readers_share_a_mapping(db: Path) -> None:
    create(db).close()
    with open_mapping(db), open_mapping(db) as second:
        assert second.rows("SELECT count(*) FROM images") == [(0,)]


OPEN = """
from pathlib import Path
from shardforge.errors import ShardforgeError
from shardforge.mapping import open_mapping
try:
    open_mapping(Path(sys.argv[1]), write=True, create=True)
except ShardforgeError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("existing", [False, True])
def test_a_place_without_write_permission_is_named(db: Path, tmp_path: Path, existing: bool) -> None:
    if existing:
        create(db).close()
    open_to_all(tmp_path, 0o555)
    found = as_nobody(OPEN, db)
    tmp_path.chmod(0o755)
    place = db if existing else tmp_path
    assert found.stdout.startswith(f"DatasetError {place}: not writable (Permission denied); give it write permission")


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
@pytest.mark.parametrize("number", [50_000, 200_000])  # DuckDB writes the first at the commit, the second before
def test_a_full_disk_is_named(db: Path, tmp_path: Path, number: int) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        rows = images([hashlib.sha512(b"%d" % i).hexdigest() for i in range(number)])
        with create(small / db.name) as mapping:
            with pytest.raises(Exception, match="no space left on the device") as caught, mapping.transaction():
                mapping.insert("images", rows)
            assert str(small) in str(caught.value)
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
@pytest.mark.parametrize("free", [0, 4096, 8192, 12288])  # DuckDB writes three headers of 4 KiB, then the log
def test_a_mapping_is_made_once_a_full_disk_has_room(db: Path, tmp_path: Path, free: int) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        (small / "other").write_bytes(bytes((2 << 20) - free))
        with pytest.raises(DatasetError, match="no space left on the device"):
            create(small / db.name)
        (small / "other").unlink()
        with create(small / db.name) as mapping:
            assert mapping.rows("SELECT count(*) FROM images") == [(0,)]
    finally:
        subprocess.run(["umount", "-l", small], check=True)


LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.flock(file, fcntl.LOCK_SH)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="other systems have no table of locks")
@pytest.mark.parametrize("first", [True, False])
def test_the_holder_of_a_lock_is_another_process(first: bool, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    assert _find_holder(place) is None
    command = [sys.executable, "-c", LOCK, str(place)]
    with open(place, "r+b") as file:
        if first:
            fcntl.flock(file, fcntl.LOCK_SH)
            assert _find_holder(place) is None
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            fcntl.flock(file, fcntl.LOCK_SH)
            assert _find_holder(place) == holder.pid
    assert _find_holder(place) is None
    assert _find_holder(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("version", "fits"), [((3, 38, 5), False), ((3, 39, 0), True), ((3, 39, 4), True), ((4, 0, 0), True)]
)
def test_sqlite_must_be_new_enough(
    version: tuple[int, int, int], fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    if fits:
        create(tmp_path / "mapping.sqlite").close()
        return
    with pytest.raises(MappingError, match=r"a mapping needs 3\.39 or later; use another Python"):
        create(tmp_path / "mapping.sqlite")


@pytest.mark.parametrize("write", [False, True])
def test_duckdb_loads_and_fetches_nothing_by_itself(write: bool, tmp_path: Path) -> None:
    create(tmp_path / "mapping.duckdb").close()
    with open_mapping(tmp_path / "mapping.duckdb", write=write) as mapping:
        for setting in ("autoload_known_extensions", "autoinstall_known_extensions"):
            assert mapping.rows(f"SELECT current_setting('{setting}')") == [(False,)]


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_a_mapping_that_is_removed_meanwhile_is_not_filled(engine: str, tmp_path: Path) -> None:
    place = tmp_path / f"mapping.{engine}"
    with create(place) as mapping:
        place.unlink()
        with pytest.raises(MappingError, match="removed while it was opened; run the same command again"):
            mapping.prepare(create=True)


def test_a_reader_goes_on_after_a_writer_that_was_killed(tmp_path: Path) -> None:
    db = tmp_path / "m.sqlite"
    with create(db) as mapping:
        mapping.insert("images", images([str(number) for number in range(3_000)]))
    killed = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(db)!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN EXCLUSIVE")
connection.execute("UPDATE images SET label = hex(randomblob(2000))")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", killed], check=False)
    assert Path(f"{db}-journal").stat().st_size > 0
    with open_mapping(db) as mapping:
        assert mapping.rows("SELECT count(*), count(label) FROM images") == [(3_000, 0)]
