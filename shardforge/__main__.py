"""The `shardforge` command from its first moment on; `python -m shardforge` is the same."""

from __future__ import annotations

import io
import os
import signal
import sys

_INTERRUPTED = 130


def run() -> None:
    """Run the command line, ready for Ctrl-C before anything is imported."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a time limit ends a run as Ctrl-C does
    try:
        _prepare_streams()
        from shardforge.cli import main

        main(prog_name="shardforge")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    finally:
        _heed_signals_no_longer()


def _prepare_streams() -> None:
    """Open what was closed, so that no database gets its number, and write file names as the bytes that they are."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # each takes the lowest number: its own
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def _heed_signals_no_longer() -> None:
    """Let the exit status stand: nothing is left but Python's own end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    run()
