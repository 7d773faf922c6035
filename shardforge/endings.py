"""How a command ends: whatever goes wrong is one line on stderr and an exit status, and never a traceback."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import click

from shardforge.errors import ShardforgeError

#: What ends a command with a line; the library has sentences of its own for what it expects of files.
EXPECTED = (ShardforgeError, KeyboardInterrupt, OSError)

#: Those that a shell reports for a program that Ctrl-C or a closed pipe ended.
_INTERRUPTED = 130
_CLOSED_PIPE = 141

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Of a path that no file can have: wrong usage.
_IMPOSSIBLE = (errno.ENAMETOOLONG, errno.ELOOP)
#: Of a word, such as a path, and of a message: beyond them the middle is left out.
_LONGEST_WORD = 1_000
_LONGEST = 4_000
_LONG_WORD = re.compile(rf"\S{{{_LONGEST_WORD},}}")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line and a status for what the block raises; mistakes in the program pass through."""
    try:
        yield
    except EXPECTED as error:
        if isinstance(error, KeyboardInterrupt):
            end_at_next_interrupt()
        _end(*explain_error(error))


def explain_error(error: ShardforgeError | KeyboardInterrupt | OSError) -> tuple[int, str]:
    """Return the exit status and the line of a command that an `EXPECTED` error ends; "" for a closed pipe."""
    if isinstance(error, ShardforgeError):
        return error.exit_code, f"Error: {_shorten(str(error))}"
    if isinstance(error, KeyboardInterrupt):
        then = str(error) or "what is finished is kept; run the same command again to go on."
        return _INTERRUPTED, f"Interrupted: {then}"
    if isinstance(error, BrokenPipeError):
        return _CLOSED_PIPE, ""
    return 2 if error.errno in _IMPOSSIBLE else 1, f"Error: {_shorten(_explain(error))}"


def end_at_next_interrupt() -> None:
    """Let another Ctrl-C end the process at once, and not with a traceback out of the middle of its clearing up."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end(status: int, line: str) -> NoReturn:
    with suppress(OSError):
        click.echo(line, err=True, nl=bool(line))
    _drop_broken_streams()
    sys.exit(status)


def _drop_broken_streams() -> None:
    """Let what a stream could not take go nowhere, or Python would try again, and complain, at its own end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):  # a stream without a number, in tests
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _explain(error: OSError) -> str:
    problem = error.strerror or str(error)
    if error.errno in _FULL:
        return f"{_name(error, 'standard output')}: {problem}; make room, and run the same command again"
    if error.errno in _DENIED:
        return f"{_name(error, 'a file')}: {problem}; allow this user to use it, and to enter the folders above it"
    if error.errno in _IMPOSSIBLE:
        return f"{_name(error, 'a path')}: {problem}; give another path"
    return f"{_name(error, 'a file')}: {problem}; see that it is there and its disk is well, and run it again"


def _shorten(message: str) -> str:
    """Return a message that a reader can take in, whatever was quoted in it."""
    message = _LONG_WORD.sub(lambda word: _cut(word[0], _LONGEST_WORD), message)
    return _cut(message, _LONGEST)


def _cut(text: str, letters: int) -> str:
    half = letters // 2
    return text if len(text) <= letters else f"{text[:half]} […] {text[-half:]}"


def _name(error: OSError, unknown: str) -> str:
    return unknown if error.filename is None else os.fsdecode(error.filename)
