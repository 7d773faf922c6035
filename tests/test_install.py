"""What an install brings on which machine, and how the commands do without the libraries that it leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from pipeline import manifest, prepare, run

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
FAST_CODEC = {"cykooz.resizer", "simplejpeg"}
CORE = {"click", "duckdb", "numpy", "pillow", "pyarrow"}

#: Runs the command without the modules that the first argument names.
WITHOUT = (
    "import sys; sys.modules |= dict.fromkeys(sys.argv.pop(1).split(',')); from shardforge.__main__ import run; run()"
)


def names(requirements: list[str], **environment: str) -> set[str]:
    """Return which packages an install takes."""
    found = map(Requirement, requirements)
    return {each.name for each in found if each.marker is None or each.marker.evaluate(environment)}


@pytest.mark.parametrize(
    ("platform", "machine", "python", "fast"),
    [
        ("linux", "x86_64", "3.11", True),
        ("linux", "x86_64", "3.14", True),
        ("darwin", "arm64", "3.13", True),
        ("darwin", "x86_64", "3.12", True),
        ("linux", "aarch64", "3.11", False),
        ("linux", "aarch64", "3.14", False),
        ("linux", "ppc64le", "3.11", False),
        ("linux", "x86_64", "3.15", False),
        ("darwin", "arm64", "3.15", False),
    ],
)
def test_the_fast_codec_comes_where_it_has_wheels(platform: str, machine: str, python: str, fast: bool) -> None:
    environment = {"sys_platform": platform, "platform_machine": machine, "python_version": python}
    assert names(PROJECT["dependencies"], **environment) == (CORE | FAST_CODEC if fast else CORE)


def test_the_extra_all_is_every_extra_for_users() -> None:
    [everything] = map(Requirement, EXTRAS["all"])
    assert everything.extras == EXTRAS.keys() - {"all", "dev"}
    assert "webdataset" not in names(EXTRAS["train"])  # its releases exclude those that others train with


def run_without(modules: str, *arguments: object, path: Path | None = None) -> str:
    """Return what a command says on stderr where these modules are not installed; `path` comes before all modules."""
    environment = {**os.environ, "PYTHONPATH": f"{path or ''}:{ROOT}"}
    command = [sys.executable, "-c", WITHOUT, modules, *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def test_all_commands_do_without_the_fast_codec(tmp_path: Path, image_tree: Path) -> None:
    missing = "simplejpeg,cykooz_resizer"
    db, out = prepare(tmp_path, f"tree=folder:{image_tree}"), tmp_path / "shards"
    told = run_without(missing, "write", "--db", db, "--out", out, "--size", 48, "--workers", 2)
    assert told.count("Note: Pillow converts the images, which takes about twice the time: ") == 1
    assert manifest(out)["shardforge"]["options"]["conversion"]["codec"] == "pillow"
    run_without(missing, "verify", out, "--db", db, "--level", "decode", "--workers", 0)
    run_without(missing, "duplicates", "--db", db, "--workers", 0, "--report", tmp_path / "report")
    run_without(missing, "bench-loader", out, "--split", "train", "--size", 32, "--seconds", 0)
    assert "Note: " not in run_without(missing, "write", "--db", db, "--out", out, "--size", 48, "--codec", "pillow")


#: Module, what it does when it is loaded (None: it is not installed), and what the note says.
BROKEN = [
    ("simplejpeg", None, "simplejpeg is not installed; --codec pillow says that this is meant"),
    ("cykooz_resizer", None, "cykooz_resizer is not installed; --codec pillow says that this is meant"),
    ("simplejpeg", "raise ImportError('libjpeg.so.8: no such file')", "do not load (libjpeg.so.8: no such file); "),
    ("cykooz_resizer", "", "its libraries do not load (cannot import name "),  # an old release
]


@pytest.mark.parametrize(("module", "code", "note"), BROKEN, ids=[note for _, _, note in BROKEN])
def test_the_note_says_why(module: str, code: str | None, note: str, tmp_path: Path, image_tree: Path) -> None:
    if code is not None:
        (tmp_path / f"{module}.py").write_text(code)
    db = prepare(tmp_path, f"tree=folder:{image_tree}")
    arguments = ("write", "--db", db, "--out", tmp_path / "shards", "--size", 48, "--workers", 0)
    assert note in run_without(module if code is None else "", *arguments, path=tmp_path)


def test_the_fast_codec_needs_no_note(tmp_path: Path, image_tree: Path) -> None:
    db = prepare(tmp_path, f"tree=folder:{image_tree}")
    told = run("write", "--db", db, "--out", tmp_path / "shards", "--size", 48, "--workers", 0).stderr
    assert "Pillow" not in told
