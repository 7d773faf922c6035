"""Files that are either whole or not there (temporary name, fsync, rename), and parts of files."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from shardforge.errors import DatasetError, UsageError
from shardforge.inside import open_folder

_BLOCK = 1 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW


class NoFileError(OSError):
    """What a path names is a folder, a pipe or a device."""


def open_regular(path: str | bytes | Path) -> int:
    """Open a regular file to read; return its descriptor.

    Raises:
        NoFileError: it is a folder, a device, or a pipe, at which readers wait for ever.
        OSError: it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise NoFileError(errno.EINVAL, f"{what}, no file", os.fsdecode(path))
    return handle


def read_regular(path: Path) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        OSError: as for `open_regular`.
    """
    with open(open_regular(path), "rb") as file:
        return file.read()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    digest = hashlib.sha256()
    block = bytearray(_BLOCK)
    view = memoryview(block)
    with open(open_regular(path), "rb", buffering=0) as file:
        while size := file.readinto(block):
            digest.update(view[:size])
    return digest.hexdigest()


def read_lines(path: Path) -> list[str]:
    """Return the lines of UTF-8 text; only a line feed, with or without a carriage return, ends one.

    Raises:
        UsageError: the file cannot be read, or is no UTF-8 text.
    """
    try:
        text = decode_text(path.read_bytes(), path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); allow it, or name another file") from error
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def decode_text(data: bytes, name: str | Path) -> str:
    """Return the UTF-8 text that `data` is, without a byte order mark.

    Raises:
        UsageError: it is other text, or none; the message calls it `name`.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 text ({error}); convert it, for instance by iconv -f latin1") from error


def read_range(fd: int, offset: int, size: int) -> bytes:
    """Return `size` bytes from `offset` of an open file, fewer where it ends."""
    data = os.pread(fd, size, offset)
    while len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
        data += more
    return data


class FileView:
    """The bytes of an open file by slice, as a memory map has them.

    A file that is cut short meanwhile, or a disk that fails, is an OSError; under a map it would end the process. With
    `ahead`, that many bytes are read at a time, for what is walked from its start to its end.
    """

    def __init__(self, fd: int, *, ahead: int = 0) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._ahead = ahead
        self._start, self._held = 0, b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(self._size)
        first = start - self._start
        if first >= 0 and end - self._start <= len(self._held):
            return self._held[first : first + end - start]
        size = max(end, min(start + self._ahead, self._size)) - start
        data = read_range(self._fd, start, size)
        if len(data) < size:
            raise OSError(errno.ESTALE, "cut short while it was read")
        if size > end - start:
            self._start, self._held = start, data
            return data[: end - start]
        return data


@contextmanager
def atomic_write(path: Path, *, scratch: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes `path` when the block ends, and vanishes when it raises.

    The bytes are on disk before the rename, so a crash leaves the old file or the new one; where `path` is a link, the
    link is replaced and not what it leads to. `scratch` is the folder for the temporary file (same file system;
    default: beside `path`): both must lie, with all links resolved, inside the folder that they have in common. Beside
    `path`, what writers of it left who were killed is removed.

    Raises:
        DatasetError: the disk is full, or the place cannot be written or leads elsewhere; the message names the path.
    """
    folder = scratch or path.parent
    root = Path(os.path.commonpath([folder, path.parent]))
    temporary = f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with open_folder(root, folder, make=True) as source, open_folder(root, path.parent, make=True) as target:
            if scratch is None:
                _remove_left(source, path.name)
            try:
                handle = _open_new(source, temporary)
                with open(handle, "wb", buffering=_BLOCK) as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path.name, src_dir_fd=source, dst_dir_fd=target)
                os.fsync(target)
            finally:
                with suppress(OSError):  # what went wrong is said below
                    os.unlink(temporary, dir_fd=source)
    except OSError as error:
        raise explain_os_error(error, path) from error


def _open_new(folder: int, name: str) -> int:
    """Open a new file and hold its lock, which says that its writer is alive; where there are no locks, without."""
    while True:
        handle = os.open(name, _NEW_FILE, 0o666, dir_fd=folder)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)  # taken for one that was left, before it was locked


def _remove_left(folder: int, name: str) -> None:
    """Remove the temporary files of a file whose writers are gone."""
    for left in os.listdir(folder):
        if left.startswith(f".{name}.") and left.endswith(".tmp"):
            with suppress(OSError):  # it is in use, gone, or on a file system without locks
                handle = os.open(left, os.O_RDWR | os.O_NOFOLLOW, dir_fd=folder)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(left, dir_fd=folder)
                finally:
                    os.close(handle)


def sync_file(path: Path) -> None:
    """Bring the bytes of a file that another library wrote to the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power failure."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explain_os_error(error: OSError, path: Path) -> DatasetError:
    """Return the sentence for an operating-system error met while writing `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DatasetError(
            f"{path}: no space left on the device; what is finished is kept: free some space and run the same "
            "command again"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DatasetError(
            f"{path}: not writable ({os.strerror(error.errno)}); give it write permission or choose another folder"
        )
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return DatasetError(f"{path}: cannot be there, since a folder above it is a file; choose another folder")
    return DatasetError(f"{path}: {error.strerror or error}; what is finished is kept, run the same command again")
