"""Nonsense for every option that takes a path or a number: one sentence, exit status 2, and nothing is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pipeline import run, start

from shardforge.cli import main
from shardforge.cli.options import LocalPath

OPTIONS = [(name, option) for name, command in main.commands.items() for option in command.params]
PATHS = [(name, option) for name, option in OPTIONS if isinstance(option.type, click.Path)]
NUMBERS = [
    (name, option) for name, option in OPTIONS if isinstance(option.type, click.types.IntParamType | click.FloatRange)
]
#: Text that holds a path, with what stands before it.
TEXTS = [
    *(("map", "--source", f"s={kind}:") for kind in ("folder", "list", "table", "openmmlab", "wds")),
    *(("map", "--source", f"s={kind}:") for kind in ("inat21", "eol", "bioscan")),
    *(("map", "--names", f"{kind}:") for kind in ("eol", "gbif", "dwca", "ncbi", "table")),
    *(("split", option, before) for option in ("--exclude", "--exclude-taxa") for before in ("", "mine=")),
    ("split", "--hold-out-taxa", ""),
    ("verify", "--shardlist", ""),
    ("leaks", "--against", ""),
    ("stats", "--dataset", ""),
]
NEEDED = {
    "map": ["--db", "new.duckdb", "--workers", "0"],
    "split": ["--db", "mapping.duckdb", "--seed", "1"],
    "verify": ["--workers", "0"],
    "leaks": ["--db", "mapping.duckdb", "--workers", "0"],
    "stats": ["--db", "mapping.duckdb"],
}
NOWHERE = {
    "a URL, and this command works on files of this machine": [
        *("s3://bucket/x", "gs://bucket/x.duckdb", "hf://datasets/x/y", "http://localhost/x.csv"),
        *("https://user:word@localhost/x.tar", "S3://bucket/x", "simplecache::s3://bucket/x", "memory://x"),
    ],
    "a URL of this machine; give the path alone: /tmp/x.duckdb": ["file:///tmp/x.duckdb"],
    "neither a file nor a folder": ["/dev/zero", "/dev/full", "pipe"],
    "links in a circle": ["circle", "circle/x.duckdb"],
    "a link to gone, which is not there": ["dangling"],
    "a folder above it is a file": ["file/below", "file/below/x.duckdb"],
    "holds a NUL": ["a\0b"],
    "stands for standard input or output": ["-"],
    "longer than a name can be": ["x" * 5_000, "a/" * 3_000],
    "is empty": [""],
}
CASES = [(value, message) for message, values in NOWHERE.items() for value in values]
#: What stands before a path makes `-` a name, and an empty text another mistake.
WITHIN = [(value, message) for value, message in CASES if value not in ("-", "")]


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Go into a folder with a mapping and files of every wrong kind; no test may add to them."""
    folder = tmp_path_factory.mktemp("here")
    before = Path.cwd()
    os.chdir(folder)
    (folder / "images").mkdir()
    (folder / "images" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "file").write_text("a\n")
    os.mkfifo("pipe")
    Path("circle").symlink_to("circle")
    Path("dangling").symlink_to("gone")
    run("map", "--db", "mapping.duckdb", "--source", "s=folder:images", "--workers", 0)
    there = sorted(folder.iterdir())
    yield folder
    assert sorted(folder.iterdir()) == there
    os.chdir(before)


def name_of(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len) if isinstance(parameter, click.Option) else parameter.human_readable_name


def refuse(*arguments: str) -> str:
    """Return the one sentence that a command ends with, at status 2."""
    told = run(*arguments, code=2).stderr.splitlines()
    assert [line for line in told if "Error: " in line] == told[-1:]
    return told[-1]


@pytest.mark.parametrize(("command", "parameter"), PATHS, ids=[f"{name} {name_of(option)}" for name, option in PATHS])
def test_paths_that_are_none(command: str, parameter: click.Parameter) -> None:
    assert isinstance(parameter.type, LocalPath)
    name = name_of(parameter)
    for value, message in CASES:
        given = [name, value] if isinstance(parameter, click.Option) else ["--", value]
        told = refuse(command, *given)
        assert told.startswith(f"Error: {name}"), told
        assert message in told


@pytest.mark.parametrize(("command", "option", "before"), TEXTS, ids=[" ".join(text) for text in TEXTS])
def test_paths_within_text(command: str, option: str, before: str) -> None:
    for value, message in WITHIN if before else CASES:
        told = refuse(command, *NEEDED[command], option, f"{before}{value}")
        assert message in told


@pytest.mark.parametrize(("command", "option", "before"), TEXTS, ids=[" ".join(text) for text in TEXTS])
@pytest.mark.parametrize("value", ["~nobody-is-called-that/x", "no/such/place", "a\nb"])
def test_paths_where_nothing_is(command: str, option: str, before: str, value: str) -> None:
    code = 1 if option == "--shardlist" else 2  # a list of shards that are not there is a list of missing shards
    told = run(command, *NEEDED[command], option, f"{before}{value}", code=code).stderr
    assert told.splitlines()[-1]
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("command", "parameter"), NUMBERS, ids=[f"{name} {name_of(option)}" for name, option in NUMBERS]
)
def test_numbers_that_are_none(command: str, parameter: click.Parameter) -> None:
    name = name_of(parameter)
    for value in ("", "-", "nan", "inf", "-inf", "1e400", "0x10", "None", "[1]", "5%", "1,5"):
        told = refuse(command, f"{name}={value}")
        assert f"Error: Invalid value for '{name}'" in told


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        ("map", "--workers", ["-1", "10000", "99999999999999999999999"]),
        ("index", "--workers", ["-1", "10000"]),
        ("bench-loader", "--workers", ["-1", "10000"]),
        ("bench-loader", "--size", ["0", "-1", "10000", "9223372036854775807"]),
        ("bench-loader", "--batch-size", ["0", "-1"]),
        ("bench-loader", "--seconds", ["-1"]),
        ("bench-loader", "--step-ms", ["-0.5", "9223372036854775807"]),
        ("bench-loader", "--cache-size", ["-1"]),
        ("write", "--quality", ["0", "101"]),
        ("write", "--max-pixels", ["0", "-1"]),
        ("write", "--shard-samples", ["0", "-1"]),
        ("write", "--shard-bytes", ["", "0", "-1", "1X", "nan", "1e9", "1" * 400, "9" * 18 + "T"]),
        ("write", "--size", ["", "0", "-1", "1x", "x1", "1e3", "100000", "1.5", "9" * 400]),
        ("write", "--max-bad", ["", "-1", "101%", "1.5", "nan", "%"]),
        ("duplicates", "--distance", ["-1", "99999"]),
    ],
)
def test_numbers_out_of_range(command: str, option: str, values: list[str]) -> None:
    for value in values:
        assert option in refuse(command, f"{option}={value}")


def test_a_path_that_is_no_text_is_told_as_bytes(here: Path) -> None:
    with start("stats", "--db", here / os.fsdecode(b"\xff.duckdb")) as asked:
        assert asked.stderr is not None
        told = asked.stderr.read()
    assert (asked.returncode, told.count("\n")) == (2, 1)
    assert "\\xff.duckdb' is not UTF-8 text" in told


@pytest.mark.parametrize("name", ["md:x", "s3:x", "run:1"])
def test_a_name_with_a_colon_is_a_folder(
    name: str, tmp_path: Path, image_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For several libraries a relative path that begins like this is a URL."""
    monkeypatch.chdir(tmp_path)
    run("map", "--db", f"{name}.duckdb", "--source", f"tree=folder:{image_tree}", "--workers", 0)
    run("split", "--db", f"{name}.duckdb", "--seed", 17, "--rule", "exact", "--val-split", 30)
    run("write", "--db", f"{name}.duckdb", "--out", name, "--size", 32, "--workers", 0)
    run("verify", name, "--db", f"{name}.duckdb", "--workers", 0)
    run("card", name, "--db", f"{name}.duckdb")
    assert {path.name for path in tmp_path.iterdir()} == {"images", name, f"{name}.duckdb"}
