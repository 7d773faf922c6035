"""Who holds a locked database file, so that the user knows whom to wait for."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

from shardforge.errors import MappingError

_COMMAND_LENGTH = 300
_PID = re.compile(r"\(PID (\d+)\)")


def explain_lock(path: Path, message: str = "") -> MappingError:
    """Return the error for a mapping that another process holds; `message` is the engine's, which may name the PID."""
    found = _PID.search(message)
    pid = int(found[1]) if found else _find_holder(path)
    if pid is None:
        holder = "another process, perhaps on another machine (which one is not known here)"
    else:
        holder = f"process {pid} ({_command_line(pid)})"
    return MappingError(
        f"{path}: in use by {holder}; only one process may have a mapping open for writing, and then no other may read "
        "it: wait until that one ends, or stop it, and run the same command again"
    )


def _find_holder(path: Path) -> int | None:
    """Return the PID that holds a lock on the file, from the kernel's table; None where there is no such table."""
    try:
        stat = path.stat()
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    identity = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    # A line reads "1: POSIX  ADVISORY  WRITE 4242 fe:00:1234 0 EOF"; lines with "->" are processes that wait.
    holders = (line.split() for line in locks if identity in line and "->" not in line)
    return next((int(fields[4]) for fields in holders if int(fields[4]) not in (-1, os.getpid())), None)


def _command_line(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        raw = b""
    command = " ".join(raw.replace(b"\0", b" ").decode("utf-8", "replace").split())
    return textwrap.shorten(command, _COMMAND_LENGTH, placeholder=" ...") or "its command line is not known"
