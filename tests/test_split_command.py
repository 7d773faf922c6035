"""`shardforge split`: what it prints, refuses and returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from shardforge.cli import main
from shardforge.mapping import open_mapping


@pytest.fixture(params=["duckdb", "sqlite"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a mapping of 100 records in two classes, two of which have the same bytes under different labels."""
    path = tmp_path / f"mapping.{request.param}"
    contents = [f"c{max(i, 1)}" for i in range(100)]
    columns: dict[str, Any] = {
        "key": [f"k{i:02d}" for i in range(100)],
        "source": ["s"] * 100,
        "path": [f"{i}.jpg" for i in range(100)],
        "label": ["ant" if i % 4 == 0 else "bee" for i in range(100)],
        "content_hash": contents,
    }
    with open_mapping(path, write=True, create=True) as mapping:
        mapping.insert("images", pa.table(columns))
    return path


def split(db: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["split", "--db", str(db), "--seed", "17", *options], catch_exceptions=False)


def stored(db: Path) -> list[tuple[Any, ...]]:
    with open_mapping(db) as mapping:
        return mapping.rows("SELECT name, key, split, subset FROM splits ORDER BY name, key")


def test_a_column_that_groups_nothing_is_warned_about(db: Path) -> None:
    assert "Warning: --group-by group_id groups nothing" in split(db, "--group-by", "group_id").stderr
    with open_mapping(db, write=True) as mapping:
        mapping.execute("UPDATE images SET group_id = 'x' WHERE key = 'k00'")
    filled = split(db, "--group-by", "group_id")
    assert filled.exit_code == 0
    assert "groups nothing" not in filled.stderr


def test_it_prints_a_table_of_counts(db: Path) -> None:
    result = split(db, "--val-split", "5", "--test-split", "2.5", "--rule", "exact", "--subset", "train_small=50")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:5] == [
        "split       images  share    classes",
        "train           93  93.000%        2",
        "validation       5  5.000%         1",
        "test             2  2.000%         1",
        "",
    ]
    assert "train_small" in result.stdout
    assert result.stderr.splitlines()[-1] == (
        "Warning: 1 content occurs under several labels (2 images); sql/list_group_label_conflicts.sql lists them"
    )


def test_both_engines_give_the_same_split(tmp_path: Path) -> None:
    splits = []
    for engine in ("duckdb", "sqlite"):
        path = tmp_path / f"mapping.{engine}"
        keys = [f"k{i}" for i in range(500)]
        with open_mapping(path, write=True, create=True) as mapping:
            mapping.insert(
                "images", pa.table({"key": keys, "source": keys, "path": keys, "species": [k[:2] for k in keys]})
            )
        assert split(path, "--stratify", "species", "--subset", "few=30").exit_code == 0
        splits.append(stored(path))
    assert splits[0] == splits[1]


def test_json_is_one_object(db: Path) -> None:
    report = json.loads(split(db, "--val-split", "20", "--json").stdout)
    assert {count["split"] for count in report["splits"]} == {"train", "validation"}
    assert sum(count["images"] for count in report["splits"]) == 100
    assert report["parameters"]["shares"] == {"validation": "1/5"}
    assert report["moves"] is None


def test_a_second_run_says_what_moved(db: Path) -> None:
    split(db, "--val-split", "20")
    again = split(db, "--val-split", "20")
    assert "Nothing changed since the last run." in again.stdout
    wider = split(db, "--val-split", "40")
    assert "keys moved. Why: other shares." in wider.stdout


def test_exclusions_are_listed_and_useless_entries_warned_about(db: Path, tmp_path: Path) -> None:
    unwanted, nothing = tmp_path / "unwanted.csv", tmp_path / "nothing.txt"
    unwanted.write_text("key,reason\nk03,blurred\nk99,blurred\nk77x,blurred\n")
    nothing.write_text("# nothing\n")
    result = split(db, "--val-split", "20", "--exclude", str(unwanted), "--exclude", str(nothing))
    assert "unwanted     blurred        3       2" in result.stdout
    assert "Warning: exclusion list unwanted: 1 entry matches no record: k77x" in result.stderr
    assert "Warning: exclusion list nothing has no entries" in result.stderr
    assert len(stored(db)) == 98


def test_what_changed_since_the_last_run_fits_a_terminal(db: Path, tmp_path: Path) -> None:
    split(db, "--val-split", "20")
    unwanted = tmp_path / f"{'a_long_name_' * 10}.txt"
    unwanted.write_text("k03\nk99\n")
    excluded = split(db, "--val-split", "20", "--exclude", str(unwanted)).stdout
    assert "Since the last run 2 keys went out. Why: other exclusions." in excluded
    assert "stay in force" not in excluded
    more = ("--seed", "5", "--val-split", "40", "--rule", "exact", "--group-by", "species", "--subset", "few=10")
    again = split(db, *more).stdout
    assert "Lists without a number of entries were given to an earlier run and stay in force." in again
    assert "another seed (17, now 5), another rule (hash, now exact)" in " ".join(again.split())
    assert max(map(len, (excluded + again).splitlines())) <= 100


def test_classes_without_a_name_are_called_so(db: Path) -> None:
    with open_mapping(db, write=True) as mapping:
        mapping.execute("UPDATE images SET label = NULL WHERE key = 'k50'")
    stratified = split(db, "--val-split", "20", "--stratify", "label")
    assert "Warning: 1 class has no record in validation: (no label)" in stratified.stderr


def test_a_dry_run_prints_and_stores_nothing(db: Path) -> None:
    before = db.read_bytes()
    result = split(db, "--val-split", "20", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.endswith("Dry run: nothing was stored.\n")
    assert db.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--val-split", "five"], "--val-split five: not a percentage"),
        (["--val-split", "1e400"], "--val-split 1e400: not a percentage"),
        (["--val-split", "9" * 5000], "not a percentage"),
        (["--val-split", "0"], "validation is asked to take 0%"),
        (["--val-split", "-1"], "validation is asked to take -1%"),
        (["--val-split", "60", "--test-split", "40"], "together take 100%"),
        (["--rule", "hash", "--stratify", "label"], "does not go with stratifying by label"),
        (["--group-by", "colour"], "'colour' is not a column"),
        (["--subset", "few"], "give it as NAME=PCT"),
        (["--subset", "few=1", "--subset", "few=2"], "given twice"),
        (["--subset", "train=1"], "cannot name a subset"),
        (["--exclude", "missing.txt"], "missing.txt: cannot be read"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_exit_2(tmp_path: Path, options: list[str], message: str) -> None:
    path = tmp_path / "mapping.sqlite"
    with open_mapping(path, write=True, create=True):
        pass
    result = split(path, *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert message in line


def test_a_missing_or_empty_mapping_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mapping.sqlite"
    missing = split(path)
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert "no such mapping; run `shardforge map" in missing.stderr
    with open_mapping(path, write=True, create=True):
        pass
    empty = split(path)
    assert empty.exit_code == 1
    assert "no usable record to split" in empty.stderr


def test_it_runs_as_a_module(db: Path) -> None:
    command = [sys.executable, "-m", "shardforge", "split", "--db", str(db), "--seed", "17", "--val-split", "5"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(stored(db)) == 100
