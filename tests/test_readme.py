"""What the README shows is what the commands print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def read_session() -> list[tuple[str, str]]:
    """Return (command, output) for each command of the README's sessions, which go on from each other."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [part.partition("<!-- /session -->")[0] for part in text.split("<!-- session -->")[1:]]
    lines = [line.removeprefix("    ") for block in blocks for line in block.strip("\n").splitlines()]
    steps: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith("$ "):
            steps.append((line[2:], ""))
        elif line:
            steps[-1] = (steps[-1][0], f"{steps[-1][1]}{line}\n")
    return steps


def test_sessions_are_real(tmp_path: Path) -> None:
    steps = read_session()
    assert [command.split()[:2] for command, _ in steps[:4]] == [
        ["shardforge", name] for name in ("map", "split", "write", "verify")
    ]
    assert sum(command.startswith("shardforge sql ") for command, _ in steps) == 3
    for folder in ("data", "sql"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C"}
    for command, output in steps:
        result = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == output, command
