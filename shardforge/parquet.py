"""Parquet files of which every byte that matters is compared with a checksum when it is read.

- Pages carry CRC-32s, as the format has them, for any reader. Their headers have none, but a row group that is read by
  itself with another header is an error, or the same.
- The footer (schema, places of pages, metadata) has its SHA-256 just before it, where no reader looks; metadata say so.

Files without these, as they were made before, are read as they are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from shardforge.files import open_regular

_FOOTER = b"shardforge:footer"
_DIGEST_BYTES = 32
#: After the footer: its length, and what all Parquet files end with.
_LENGTH_BYTES, _MAGIC = 4, b"PAR1"


class ParquetTable:
    """A Parquet file, read by row groups.

    Attributes:
        metadata: what the file says of itself.
        schema: the columns.
        lengths: rows of each row group.
    """

    def __init__(self, place: Path | str | pa.NativeFile) -> None:
        """Open a file.

        Raises:
            FileNotFoundError: there is none.
            OSError, pa.ArrowException: it is damaged, or no Parquet file; reading from it raises these, too.
        """
        if isinstance(place, pa.NativeFile):
            source = place
        else:
            os.close(open_regular(place))  # Arrow would wait at a pipe
            source = pa.OSFile(str(place))
        self._checked = _compare_footer(source)
        self._file = pq.ParquetFile(source, page_checksum_verification=True)
        found = self._file.metadata
        self.schema: pa.Schema = self._file.schema_arrow
        self.lengths = [found.row_group(number).num_rows for number in range(found.num_row_groups)]
        self.metadata: dict[bytes, bytes] = dict(found.metadata or {})
        if self.metadata.pop(_FOOTER, None) is not None and not self._checked:
            raise pa.ArrowInvalid("the checksum of its footer is damaged")

    def read(self, row_group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a row group: all of its columns, or these.

        Raises:
            OSError, pa.ArrowException: it is damaged.
            IndexError: there is no such row group.
        """
        if not 0 <= row_group < len(self.lengths):
            raise IndexError(f"row group {row_group}: there are {len(self.lengths)}")
        return self._file.read_row_group(row_group, columns)

    def check(self) -> None:
        """Read all that can be compared with a checksum.

        Raises:
            OSError, pa.ArrowException: some of it is damaged.
        """
        for number in range(len(self.lengths)) if self._checked else ():
            self.read(number)

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)

    def __enter__(self) -> ParquetTable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ParquetWriter:
    """Writes row groups to an open file; see `write_parquet`."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._file = file
        self._sink = _Sink(file)
        self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd", write_page_checksum=True)

    def write(self, table: pa.Table) -> None:
        """Append a row group."""
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def describe(self, metadata: dict[bytes, bytes]) -> None:
        """Add to what the file says of itself."""
        self._writer.add_key_value_metadata(metadata)

    def finish(self) -> None:
        """Write the footer and what it is compared with."""
        self.describe({_FOOTER: b"sha256"})
        place = self._file.tell()
        self._file.write(_FOOTER + bytes(_DIGEST_BYTES))
        self._sink.digest = hashlib.sha256()
        self._writer.close()
        self._file.seek(place)
        self._file.write(_FOOTER + self._sink.digest.digest())
        self._file.seek(0, 2)

    def abandon(self) -> None:
        """Let go of a file that is not to be finished."""
        self._writer.close()


@contextmanager
def write_parquet(file: IO[bytes], schema: pa.Schema) -> Iterator[ParquetWriter]:
    """Yield a writer of row groups; the file is whole when the block ends."""
    writer = ParquetWriter(file, schema)
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise
    writer.finish()


class _Sink:
    """Passes on what a writer writes, and hashes it once it is given a digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest: Any = None
        self.closed = False

    def write(self, data: Any) -> int:
        if self.digest is not None:
            self.digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.closed = True


def _compare_footer(source: pa.NativeFile) -> bool:
    """Compare the footer with the checksum before it; return whether there is one."""
    size = source.size()
    end = _LENGTH_BYTES + len(_MAGIC)
    length = int.from_bytes(source.read_at(_LENGTH_BYTES, max(0, size - end)), "little")
    start = size - end - length - _DIGEST_BYTES
    if start < len(_FOOTER):
        return False
    if source.read_at(len(_FOOTER), start - len(_FOOTER)) != _FOOTER:
        return False
    found = source.read_at(size - start, start)
    if hashlib.sha256(found[_DIGEST_BYTES:]).digest() != found[:_DIGEST_BYTES]:
        raise pa.ArrowInvalid("its footer is not the one that was written")
    return True
