"""What the file of a mapping may be: its form, which others read, and what is no mapping at all."""

from __future__ import annotations

import os
import re
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from pipeline import prepare, run, write

from shardforge.errors import MappingError
from shardforge.mapping import open_mapping

DATA = Path(__file__).resolve().parent / "data"
OLDEST_FORM = 64


@pytest.fixture(params=["duckdb", "sqlite"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"mapping.{request.param}"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return the folder of a mapping, in both engines, and a dataset that 0.1.0 wrote."""
    with tarfile.open(DATA / "written-by-0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


def form(path: Path) -> int:
    """Return the version of a DuckDB file's form."""
    return int.from_bytes(path.read_bytes()[12:20], "little")


def write_form(path: Path, version: int, maker: bytes) -> None:
    """Change which form the head of a DuckDB file says that it has, and who made it."""
    data = bytearray(path.read_bytes())
    data[12:20] = version.to_bytes(8, "little")
    data[52:84] = maker.ljust(32, b"\0")
    checksum = 5381
    for place in range(8, 4096, 8):
        checksum ^= int.from_bytes(data[place : place + 8], "little") * 0xBF58476D1CE4E5B9 % (1 << 64)
    data[:8] = checksum.to_bytes(8, "little")
    path.write_bytes(data)


def test_a_new_mapping_has_the_form_that_every_duckdb_reads(tmp_path: Path, image_tree: Path) -> None:
    db = tmp_path / "mapping.duckdb"
    run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    run("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 30)
    assert form(db) == OLDEST_FORM


def test_a_mapping_of_before_stays_usable_and_keeps_its_form(old: Path) -> None:
    db = old / "mapping.duckdb"
    before = form(db)
    (old / "images" / "birds" / "0.jpg").unlink()
    run("map", "--db", db, "--source", f"photos=folder:{old}/images", "--option", "photos.label=parent", code=0)
    run("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 25)
    assert form(db) == before > OLDEST_FORM


@pytest.mark.parametrize(
    ("version", "maker", "said"),
    [(9_999, b"v9.1.0", "DuckDB 9.1.0"), (9_999, b"", "another DuckDB"), (1, b"", "another")],
)
def test_a_form_that_this_duckdb_cannot_read_is_named(tmp_path: Path, version: int, maker: bytes, said: str) -> None:
    db = tmp_path / "it's.duckdb"
    open_mapping(db, write=True, create=True).close()
    write_form(db, version, maker)
    with pytest.raises(MappingError) as caught:
        open_mapping(db)
    assert f"written by {said}" in str(caught.value)
    assert f"DuckDB {duckdb.__version__}, which is installed here, cannot read" in str(caught.value)
    assert f"shardforge sql '{tmp_path}/it'\"'\"'s.duckdb' --convert NEW.duckdb" in str(caught.value)


def is_folder(path: Path) -> None:
    path.mkdir()


def is_empty(path: Path) -> None:
    path.touch()


def is_text(path: Path) -> None:
    path.write_text("no database at all\n" * 1000)


def is_short_text(path: Path) -> None:
    path.write_text("no")


def is_zeros(path: Path) -> None:
    path.write_bytes(bytes(20_000))


def is_pipe(path: Path) -> None:
    os.mkfifo(path)


def is_dangling(path: Path) -> None:
    path.symlink_to("gone.db")


def is_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def is_of_the_other_engine(path: Path) -> None:
    other = path.with_suffix(".sqlite" if path.suffix == ".duckdb" else ".duckdb")
    open_mapping(other, write=True, create=True).close()
    other.rename(path)


def is_another_database(path: Path) -> None:
    connection = duckdb.connect(path) if path.suffix == ".duckdb" else sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x INTEGER)")
    connection.close()


WRONG_FILES: list[tuple[Callable[[Path], None], str]] = [
    (is_folder, "is a directory"),
    (is_empty, "an empty file, so no mapping|a database, but no mapping"),
    (is_text, "not a (DuckDB|SQLite) database; give --db another name"),
    (is_short_text, "not a (DuckDB|SQLite) database; give --db another name"),
    (is_zeros, "not a (DuckDB|SQLite) database; give --db another name"),
    (is_pipe, "neither a file nor a link to one"),
    (is_device, "neither a file nor a link to one"),
    (is_dangling, "a link to gone.db, which is not there; mend the link"),
    (
        is_of_the_other_engine,
        "a (DuckDB|SQLite) database, which its suffix does not say; rename it so",
    ),
    (is_another_database, "a database, but no mapping"),
]
READING = [
    ("stats", "--db", "DB"),
    ("sql", "DB", "count_by_class"),
    ("write", "--db", "DB", "--out", "OUT", "--workers", 0),
    ("write", "--db", "DB", "--out", "OUT", "--dry-run"),
]
CHANGING = [
    ("map", "--db", "DB"),
    ("split", "--db", "DB", "--seed", 1),
    ("duplicates", "--db", "DB"),
    ("leaks", "--db", "DB", "--against", "."),
]


def fill_in(command: tuple[object, ...], db: Path) -> list[object]:
    return [{"DB": db, "OUT": db.parent / "out"}.get(word, word) for word in command]


@pytest.mark.parametrize("command", [READING[0], CHANGING[0]], ids=["stats", "map"])
@pytest.mark.parametrize(("make", "message"), WRONG_FILES, ids=[make.__name__ for make, _ in WRONG_FILES])
def test_a_file_that_is_no_mapping(
    db: Path, command: tuple[object, ...], make: Callable[[Path], None], message: str
) -> None:
    make(db)
    told = run(*fill_in(command, db), code=2).stderr
    assert told.splitlines()[-1].startswith("Error: ")
    assert re.search(message, told), told


@pytest.mark.parametrize("command", [*READING, *CHANGING], ids=lambda command: " ".join(map(str, command)))
def test_every_command_tells_a_missing_mapping_and_one_of_the_other_engine(
    db: Path, command: tuple[object, ...]
) -> None:
    told = run(*fill_in(command, db), code=2).stderr
    assert told.startswith(
        f"Error: {db}: no such mapping; run `shardforge map --db {db} --source NAME=KIND:ROOT` first"
    )
    assert list(db.parent.iterdir()) == []
    is_of_the_other_engine(db)
    assert "which its suffix does not say" in run(*fill_in(command, db), code=2).stderr
    assert list(db.parent.iterdir()) == [db]


def test_commands_on_a_dataset_tell_a_missing_mapping(tmp_path: Path, image_tree: Path) -> None:
    out = tmp_path / "shards"
    write(prepare(tmp_path, f"tree=folder:{image_tree}"), out)
    next(out.glob("train/*.tar")).write_bytes(b"")
    for command in ("verify", "card"):
        told = run(command, out, "--db", tmp_path / "gone.sqlite", code=2).stderr
        assert told.startswith(f"Error: {tmp_path}/gone.sqlite: no such mapping; run `shardforge map"), told
    assert not (out / "README.md").exists()


@pytest.mark.parametrize("make", [make for make, _ in WRONG_FILES if make is not is_empty])
def test_map_makes_nothing_of_a_file_that_is_something_else(
    db: Path, image_tree: Path, make: Callable[[Path], None]
) -> None:
    make(db)
    before = sorted(db.parent.rglob("*"))
    run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0, code=2)
    assert sorted(db.parent.rglob("*")) == before
