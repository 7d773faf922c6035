"""The command as a process among others: signals, closed streams, full disks, names that are no text."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from pipeline import as_nobody, open_to_all, run

from shardforge.cli.options import print_table
from shardforge.reasons import MEANING

COMMAND = [sys.executable, "-m", "shardforge"]
STARTING = """
import os, signal, sys

class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), getattr(signal, sys.argv[1]))

sys.meta_path.insert(0, Sender())
from shardforge.__main__ import run
run()
"""


@pytest.fixture
def db(tmp_path: Path, image_tree: Path) -> Path:
    path = tmp_path / "mapping.duckdb"
    run("map", "--db", path, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    return path


def split(db: Path) -> list[str]:
    return [*COMMAND, "split", "--db", str(db), "--seed", "17", "--rule", "exact", "--val-split", "30"]


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
def test_a_signal_while_modules_are_imported_leaves_no_traceback(signal: str) -> None:
    ended = subprocess.run([sys.executable, "-c", STARTING, signal], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-", ">&- 2>&-"])
def test_closed_streams_change_nothing(db: Path, closed: str) -> None:
    shell = ["sh", "-c", f'"$@" {closed}', "sh", *split(db)]
    ended = subprocess.run(shell, stdout=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 0
    assert ended.stdout.startswith("split") == (">&- " not in closed)
    assert "Nothing changed" in run(*split(db)[3:]).stdout


def test_a_reader_that_went_away_ends_the_command_quietly(db: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(split(db), stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["--version"], ["split", "--help"], []])
def test_a_full_disk_behind_stdout_is_one_sentence(db: Path, arguments: list[str]) -> None:
    command = [*COMMAND, *arguments] if arguments else split(db)
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: standard output: No space left on device; make room")
    assert ended.stderr.count("\n") == 1


def test_tables_are_cut_where_they_are_wide(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "images", "b", "c"], [["x" * 150, 1_234, "y" * 150, "whole"], ["short", 5, "z" * 30, ""]])
    assert capsys.readouterr().out.splitlines() == [
        f"{'a':42}  images  {'b':41}  c",
        f"{'x' * 41}…   1,234  {'y' * 40}…  whole",
        f"{'short':42}       5  {'z' * 30}",
    ]


def test_letters_that_would_break_a_table_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "images"], [["a\nb\x1b[31m é", 1]])
    assert capsys.readouterr().out.splitlines()[1:] == ["a\\nb\\x1b[31m é       1"]


@pytest.mark.parametrize("reason", MEANING)
def test_the_meaning_of_a_reason_is_never_cut(reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["reason", "images", "meaning"], [[reason, 9_999_999, MEANING[reason]]])
    assert capsys.readouterr().out.endswith(f"{MEANING[reason]}\n")


def test_a_path_that_is_no_text_is_printed_as_it_is(tmp_path: Path) -> None:
    tar = os.fsencode(tmp_path) + b"/\xff.tar"
    command = [*COMMAND, "verify", "--level", "size", "--workers", "0", "--shardlist", tar]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, tar + b"\n")


def test_a_dataset_in_a_folder_that_no_mapping_can_name_is_refused(db: Path, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"\xff") / "shards"
    run(*split(db)[3:])
    refused = run("write", "--db", db, "--out", out, "--workers", 0, code=2)
    assert "is not UTF-8 text, which a database cannot hold; rename it" in refused.stderr
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("list:list.txt", "source 'a': {}/list.txt cannot be read (Permission denied); allow reading it"),
        ("openmmlab:train.json", "source 'a': {}/train.json cannot be read (Permission denied); allow reading it"),
        ("wds:tars", "{}/tars/classes.txt: cannot be read (Permission denied); allow it"),
        ("list:closed/list.txt", "{}/closed/list.txt: Permission denied; allow this user to use it"),
        ("folder:closed/inside", "{}/closed/inside: Permission denied; allow this user to use it"),
    ],
)
def test_what_may_not_be_read_is_named(tmp_path: Path, source: str, message: str) -> None:
    for name in ("list.txt", "train.json", "closed/list.txt", "tars/classes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(mode=0o000)
    with tarfile.open(tmp_path / "tars" / "s.tar", "w") as tar:
        for name in ("k.jpg", "k.cls"):
            tar.addfile(tarfile.TarInfo(name))
    open_to_all(tmp_path, 0o777)
    (tmp_path / "closed").chmod(0o000)
    kind, _, place = source.partition(":")
    arguments = ("map", "--db", tmp_path / "m.sqlite", "--source", f"a={kind}:{tmp_path}/{place}", "--workers", "0")
    ended = as_nobody("main(sys.argv[1:])", *arguments)
    (tmp_path / "closed").chmod(0o755)
    assert ended.returncode in (1, 2)
    assert ended.stderr.startswith(f"Error: {message.format(tmp_path)}"), ended.stderr
    assert not (tmp_path / "m.sqlite").exists()
