"""The package as a whole: what it imports, in which order, how it starts, what the wheel holds."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest

from shardforge.cli import main

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "shardforge"

#: The flow of data: a part may import itself and the parts before it.
FLOW = [
    *("errors", "endings", "progress", "reasons", "records", "paths", "inside", "braces", "queries"),
    *("files", "parquet", "locks", "tarfiles", "samples", "zipfiles", "tables", "executors"),
    *("taxonomy", "images", "sources", "mapping", "splits", "duplicates", "dataset", "verify", "catalog", "loader"),
    *("train", "cli"),
]


def test_imports_follow_the_flow() -> None:
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part not in FLOW:
            assert part in ("__init__", "__main__"), f"{part} has no place in the flow"
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shardforge."):
                imported = node.module.split(".")[1]
                assert FLOW.index(imported) <= FLOW.index(part), f"{path.relative_to(ROOT)} imports {imported}"


def list_imports(*command: str) -> set[str]:
    """Return the modules that Python loads for a command."""
    result = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True)
    return {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}


@pytest.mark.parametrize("command", [["-c", "import shardforge"], ["-m", "shardforge", "--help"]])
def test_start_up_loads_nothing_heavy(command: list[str]) -> None:
    assert not list_imports(*command) & {"duckdb", "numpy", "pyarrow", "PIL", "ray", "simplejpeg", "torch"}


def test_a_worker_that_writes_loads_no_more_than_it_needs() -> None:
    loaded = list_imports("-c", "import shardforge.dataset.shard")
    assert "pyarrow" in loaded
    assert not loaded & {"duckdb", "importlib.metadata", "pyarrow.compute", "shardforge.splits.assign"}


def test_training_without_its_libraries_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    package = importlib.import_module("shardforge.train")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["-m"])
    with pytest.raises(SystemExit, match=r'pip install "shardforge\[train\]"'):
        importlib.reload(package)


def test_every_command_and_option_has_help() -> None:
    for command in [main, *main.commands.values()]:
        assert command.help
        assert command is main or len(command.short_help or command.help) <= 62, f"{command.name}: does not fit a line"
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{command.name}: {option.name}"


def test_command_reference_is_up_to_date() -> None:
    script = ROOT / "scripts" / "make_reference.py"
    result = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_wheel_holds_statements_and_type_marker(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    assert {f"shardforge/sql/{path.name}" for path in (ROOT / "sql").glob("*.sql")} <= names
    assert "shardforge/py.typed" in names
    assert not any(name.startswith(("tests/", "data/")) for name in names)
