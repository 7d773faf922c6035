"""What a person watches: a line of progress, JSON lines, TensorBoard if installed, and a picture of the loss."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import click

from shardforge.files import explain_os_error
from shardforge.train.pictures import draw_loss

_NAME = "log.jsonl"


class RunLog:
    """The log of a run in a folder; only the first rank has one that writes.

    A resumed run goes on in the files that are there.
    """

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self._folder = folder
        self._writes = writes
        self._file: IO[str] | None = None
        self._board: Any = None
        self._open_line = False

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._writes:
            click.echo(("\r\x1b[K" if self._open_line else "") + text, err=True)
            self._open_line = False

    def record(self, kind: str, update: int, values: Mapping[str, Any]) -> None:
        """Write the numbers of a step or an epoch; `update` counts the optimiser's steps."""
        if self._writes:
            try:
                self._write(kind, update, values)
            except OSError as error:
                raise explain_os_error(error, Path(error.filename or self._folder / _NAME)) from error

    def _write(self, kind: str, update: int, values: Mapping[str, Any]) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self._folder / _NAME, "a", encoding="utf-8")  # noqa: SIM115
            if self._file.tell():
                self._file.write("\n")  # a crash may have left half a line
            self._board = _open_board(self._folder)
        self._file.write(json.dumps({"kind": kind, "time": round(time.time(), 3), "update": update, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{kind}/{name}", value, update)

    def progress(self, text: str) -> None:
        """Show a line that the next one replaces on a terminal."""
        if not self._writes:
            return
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
            self._open_line = True
        else:
            click.echo(text, err=True)

    def draw(self) -> None:
        """Draw the losses so far as `loss.png`."""
        if self._writes:
            draw_loss(read_log(self._folder), self._folder / "loss.png", title=self._folder.name)

    def close(self) -> None:
        """Finish the files."""
        if self._open_line:
            click.echo(err=True)
        with suppress(OSError):  # the last records of a full disk: the run has said that it is full
            if self._file is not None:
                self._file.close()
            if self._board is not None:
                self._board.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a run's log, without lines that a crash cut short."""
    records = []
    for line in (folder / _NAME).read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            records.append(json.loads(line))
    return records


def _open_board(folder: Path) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))
