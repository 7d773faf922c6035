"""Files that are whole or not there: what a killed writer left goes with the next one, a living one keeps its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shardforge.errors import DatasetError
from shardforge.files import atomic_write, read_regular, sha256_file
from shardforge.loader.storage.local import LocalFile
from shardforge.parquet import ParquetTable

KILLED = """
import os, signal, sys
from pathlib import Path
from shardforge.files import atomic_write
with atomic_write(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    ended = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = tmp_path.glob(".*.tmp")
    (tmp_path / ".a.jsonx.vm.1.tmp").touch()  # of another file
    with atomic_write(path) as file:
        file.write(b"new")
        assert not left.exists()
    assert sorted(os.listdir(tmp_path)) == [".a.jsonx.vm.1.tmp", "a.json"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("read", [sha256_file, read_regular, ParquetTable, lambda path: LocalFile(str(path))])
def test_nobody_waits_at_a_pipe(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((OSError, DatasetError), match="a pipe or device, no file"):
        read(tmp_path / "pipe")
    with pytest.raises((OSError, DatasetError), match="a folder, no file"):
        read(tmp_path)


def test_what_a_living_writer_has_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with atomic_write(path) as file:
        file.write(b"first")
        file.flush()
        ended = subprocess.run([sys.executable, "-c", KILLED, path], check=False)  # which looks for what was left
        assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"first"
