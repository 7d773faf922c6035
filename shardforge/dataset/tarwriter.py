"""A tar whose bytes are a function of its members alone.

POSIX ustar (IEEE Std 1003.1-1990, section 10.1.1): regular files, mode 0644, owner 0, time 0, no names of users or
groups, two zero blocks at the end and no further padding.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import IO

from shardforge.tarfiles import BLOCK

#: Bytes after the last member: two zero blocks.
END = bytes(2 * BLOCK)
#: The size that a sample's missing member has in receipts.
MISSING = -1
_NAME_BYTES = 100

# Everything of a header but name, size and checksum; the checksum field counts as eight spaces.
_FIXED = b"0000644\0" + b"0000000\0" * 2
_TIME = b"00000000000\0"
_TAIL = b"0" + bytes(100) + b"ustar\0" + b"00" + bytes(64) + b"0000000\0" * 2 + bytes(167)
_FIXED_SUM = sum(_FIXED) + sum(_TIME) + sum(_TAIL) + 8 * ord(" ")


def member_header(name: str, size: int) -> bytes:
    """Return the 512-byte header of a regular file of `size` bytes.

    Raises:
        ValueError: the name is longer than 100 bytes, or the size needs more than 11 octal digits.
    """
    raw = name.encode()
    digits = b"%011o\0" % size
    if len(raw) > _NAME_BYTES or len(digits) > 12:
        raise ValueError(f"tar member {name!r} of {size} bytes: ustar holds names of 100 bytes and sizes below 8 GiB")
    checksum = b"%06o\0 " % (_FIXED_SUM + sum(raw) + sum(digits))
    return raw.ljust(_NAME_BYTES, b"\0") + _FIXED + digits + _TIME + checksum + _TAIL


def padding(size: int) -> bytes:
    """Return the zero bytes that fill the last block of a member of `size` bytes."""
    return bytes(-size % BLOCK)


def stored_size(size: int) -> int:
    """Return the bytes that a member of `size` bytes takes in a tar: header, data, padding."""
    return BLOCK + size + -size % BLOCK


@dataclass
class ShardWriter:
    """Writes samples to `file` and keeps what the index needs: per member extension, sizes and CRC-32s.

    `size` is that of the file so far, in bytes.
    """

    file: IO[bytes]
    extensions: tuple[str, ...]
    size: int = 0
    sizes: list[list[int]] = field(default_factory=list)
    crcs: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()
        self.sizes = [[] for _ in self.extensions]
        self.crcs = [[] for _ in self.extensions]

    def add_sample(self, key: str, members: tuple[bytes | None, ...]) -> None:
        """Append one sample: `members` in the order of `extensions`, None for one that it lacks."""
        pieces: list[bytes] = []
        for extension, data, sizes, crcs in zip(self.extensions, members, self.sizes, self.crcs, strict=True):
            if data is None:
                sizes.append(MISSING)
                crcs.append(0)
                continue
            size = len(data)
            pieces += (member_header(f"{key}.{extension}", size), data, padding(size))
            sizes.append(size)
            crcs.append(zlib.crc32(data))
        self._write(b"".join(pieces))

    def finish(self) -> str:
        """Append the end of the archive and return the SHA-256 of the whole file as 64 hex digits."""
        self._write(END)
        return self._digest.hexdigest()

    def _write(self, block: bytes) -> None:
        self.file.write(block)
        self._digest.update(block)
        self.size += len(block)
