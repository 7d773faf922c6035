"""Progress on stderr: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import click

_BAR_SECONDS = 0.1
_LOG_SECONDS = 15.0
_SHORT_SECONDS = 5.0
_WIDTH = 30


class Progress:
    """Counts of work done, shown no more often than a reader can use them.

    Call it with the stage's name, the units done and the units in all (0 when unknown). A new stage starts a new line.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._stage = ""
        self._started = self._shown = time.monotonic()
        self._dirty = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` units of a stage are done (total 0: unknown)."""
        if self._quiet:
            return
        now = time.monotonic()
        if stage != self._stage:
            self._end_line()
            self._stage, self._started, self._shown = stage, now, 0.0 if self._terminal else now
        finished = total > 0 and done >= total and (self._terminal or now - self._started >= _SHORT_SECONDS)
        if finished or now - self._shown >= (_BAR_SECONDS if self._terminal else _LOG_SECONDS):
            self._shown = now
            self._show(done, total, now - self._started)

    def _show(self, done: int, total: int, seconds: float) -> None:
        rate = done / seconds if seconds > 0 else 0.0
        amount = f"{done:,}" if total <= 0 else f"{done:,} of {total:,}"
        text = f"{amount} ({rate:,.0f}/s)"
        if total > 0 and 0 < done < total and rate > 0:
            text += f", {_duration((total - done) / rate)} left"
        if not self._terminal:
            click.echo(f"{self._stage}: {text}", err=True)
            return
        filled = round(_WIDTH * done / total) if total > 0 else 0
        bar = f" [{'#' * filled}{'-' * (_WIDTH - filled)}]" if total > 0 else ""
        sys.stderr.write(f"\r\x1b[K{self._stage}{bar} {text}")
        sys.stderr.flush()
        self._dirty = True

    def _end_line(self) -> None:
        if self._dirty:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._dirty = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_line()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
