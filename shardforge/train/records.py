"""Compares the records of a file that torch.save wrote, a zip archive, with their CRC-32s: torch.load does not."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shardforge.files import read_range

#: Bytes read at a time by each thread.
_BLOCK = 8 << 20
#: Of a member's own header: its size without name and extra field, and where the lengths of these stand.
_HEADER_BYTES, _LENGTHS = 30, struct.Struct("<26xHH")


def check_records(path: Path) -> None:
    """Read all records, side by side, and compare each with its CRC-32.

    Raises:
        OSError: the file cannot be read.
        ValueError: a record is damaged or cut, or the file is no zip archive of plain records.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error, OverflowError) as error:
        if isinstance(error.__context__, OSError):  # zipfile takes a disk that fails for bytes that are wrong
            raise error.__context__ from None
        raise ValueError(str(error)) from error
    handle = os.open(path, os.O_RDONLY)
    try:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for record, crc in zip(records, pool.map(lambda record: _crc(handle, record), records), strict=True):
                if crc != record.CRC:
                    raise ValueError(f"its record {record.filename!r} is damaged")
    finally:
        os.close(handle)


def _crc(handle: int, record: zipfile.ZipInfo) -> int | None:
    """Return the CRC-32 of a record's bytes, None where they are not all there or not as they are."""
    header = read_range(handle, record.header_offset, _HEADER_BYTES)
    if len(header) < _HEADER_BYTES or record.compress_type != zipfile.ZIP_STORED:
        return None
    start = record.header_offset + _HEADER_BYTES + sum(_LENGTHS.unpack(header))
    block = memoryview(bytearray(min(_BLOCK, record.file_size)))
    crc = done = 0
    while done < record.file_size:
        count = os.preadv(handle, [block[: record.file_size - done]], start + done)
        if not count:
            return None
        crc = zlib.crc32(block[:count], crc)
        done += count
    return crc
