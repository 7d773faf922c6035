"""Files that are either whole or not there (temporary name, fsync, rename), and parts of files."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from shardforge.errors import DatasetError, UsageError
from shardforge.inside import open_folder

_BLOCK = 1 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    digest = hashlib.sha256()
    block = bytearray(_BLOCK)
    view = memoryview(block)
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(block):
            digest.update(view[:size])
    return digest.hexdigest()


def read_lines(path: Path) -> list[str]:
    """Return the lines of UTF-8 text; only a line feed, with or without a carriage return, ends one.

    Raises:
        UsageError: the file cannot be read, or is no UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); allow it, or name another file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text ({error}); convert it, for instance by iconv -f latin1") from error
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def read_range(fd: int, offset: int, size: int) -> bytes:
    """Return `size` bytes from `offset` of an open file, fewer where it ends."""
    data = os.pread(fd, size, offset)
    while len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
        data += more
    return data


class FileView:
    """The bytes of an open file by slice, as a memory map has them.

    A file that is cut short meanwhile, or a disk that fails, is an OSError; under a map it would end the process.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(self._size)
        data = read_range(self._fd, start, end - start)
        if len(data) < end - start:
            raise OSError(errno.ESTALE, "cut short while it was read")
        return data


@contextmanager
def atomic_write(path: Path, *, scratch: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes `path` when the block ends, and vanishes when it raises.

    The bytes are on disk before the rename, so a crash leaves the old file or the new one; where `path` is a link, the
    link is replaced and not what it leads to. `scratch` is the folder for the temporary file (same file system;
    default: beside `path`): both must lie, with all links resolved, inside the folder that they have in common.

    Raises:
        DatasetError: the disk is full, or the place cannot be written or leads elsewhere; the message names the path.
    """
    folder = scratch or path.parent
    root = Path(os.path.commonpath([folder, path.parent]))
    temporary = f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with open_folder(root, folder, make=True) as source, open_folder(root, path.parent, make=True) as target:
            try:
                handle = os.open(temporary, _NEW_FILE, 0o666, dir_fd=source)
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
