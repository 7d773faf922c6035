"""The oldest DuckDB that the package admits and the newest work on one mapping in turn; `make test-old-duckdb`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from pipeline import run

from shardforge.mapping import open_mapping

pytestmark = pytest.mark.old_duckdb

ROOT = Path(__file__).resolve().parent.parent
#: The folder that the release was installed into.
OLD = os.environ.get("SHARDFORGE_OLD_DUCKDB", "")
VERSION = "1.5.0"
COMMAND = [sys.executable, "-m", "shardforge"]


def run_old(*command: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in a process whose DuckDB is the old one."""
    environment = {**os.environ, "PYTHONPATH": f"{OLD}:{ROOT}"}
    ended = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    return ended


def test_the_release_is_the_oldest_that_is_admitted() -> None:
    asked = [sys.executable, "-c", "import duckdb; print(duckdb.__version__)"]
    assert run_old(*asked).stdout.strip() == VERSION
    import duckdb

    assert duckdb.__version__ != VERSION
    assert f'"duckdb>={VERSION.rpartition(".")[0]}"' in (ROOT / "pyproject.toml").read_text()


def test_both_go_on_where_the_other_was(tmp_path: Path, image_tree: Path) -> None:
    db, out = tmp_path / "mapping.duckdb", tmp_path / "shards"
    run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    split = ("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 30)
    run_old(*COMMAND, *split)
    assert "Nothing changed" in run(*split).stdout
    (image_tree / "fish" / "0.jpg").unlink()
    mapped = json.loads(run_old(*COMMAND, "map", "--db", db, "--workers", 0, "--json").stdout)
    assert (mapped["sources"]["tree"]["vanished"], mapped["sources"]["tree"]["unchanged"]) == (1, 11)
    run("split", *split[1:])
    run_old(*COMMAND, "write", "--db", db, "--out", out, "--size", 64, "--workers", 0)
    run("verify", out, "--db", db, "--workers", 0)
    run_old(*COMMAND, "card", out, "--db", db)
    figures = run("stats", "--db", db, "--json").stdout
    assert run_old(*COMMAND, "stats", "--db", db, "--json").stdout == figures


def test_questions_have_the_same_answers(tmp_path: Path, image_tree: Path) -> None:
    db = tmp_path / "mapping.duckdb"
    run_old(*COMMAND, "map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    for question in (["count_by_class"], ["count_by_rank", "--csv"], ["-c", "SELECT * FROM images", "--json"]):
        assert run_old(*COMMAND, "sql", db, *question).stdout == run("sql", db, *question).stdout
    told = run_old(*COMMAND, "sql", db, "-c", "SELECT * FROM read_csv('/etc/passwd')", code=2).stderr
    assert told.endswith("`shardforge sql` reads the mapping and does nothing else\n")
    assert ", line 2: " in run_old(*COMMAND, "sql", db, "-c", "SELECT 1;\nSELECT foo FROM images", code=2).stderr


def test_a_mapping_of_a_newer_form_is_named_and_its_copy_is_read(tmp_path: Path) -> None:
    with tarfile.open(ROOT / "tests" / "data" / "written-by-0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    db = tmp_path / "mapping.duckdb"
    told = run_old(*COMMAND, "stats", "--db", db, code=1).stderr
    assert f"written by DuckDB 2.0.1 in a form that DuckDB {VERSION}, which is installed here, cannot read" in told
    assert f"`shardforge sql {db} --convert NEW.duckdb`" in told
    run("sql", db, "--convert", tmp_path / "new.duckdb")
    assert "24 images" in run_old(*COMMAND, "stats", "--db", tmp_path / "new.duckdb").stdout
    with open_mapping(db) as mapping:
        expected = mapping.rows("SELECT * FROM images ORDER BY key")
    with open_mapping(tmp_path / "new.duckdb") as mapping:
        assert mapping.rows("SELECT * FROM images ORDER BY key") == expected
