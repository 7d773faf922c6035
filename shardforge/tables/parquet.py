"""Parquet from others, opened with the right word for what is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet

from shardforge.errors import SourceError
from shardforge.tables.formats import HEAD_BYTES, name_other_format

_MAGIC = b"PAR1"


@contextmanager
def open_parquet(file: Path | IO[bytes], place: Path | str) -> Iterator[pa.parquet.ParquetFile]:
    """Open a Parquet file; no more of it is held than is read at a time.

    Raises:
        SourceError: it is of another format; the message says which.
    """
    with pa.OSFile(str(file)) if isinstance(file, Path) else pa.PythonFile(file, "r") as opened:
        head = opened.read(HEAD_BYTES)
        if not head.startswith(_MAGIC):
            raise SourceError(f"{place}: is {name_other_format(head)}, not Parquet; let its name end in what it is")
        opened.seek(0)
        with pa.parquet.ParquetFile(opened, pre_buffer=False) as table:  # a buffer would hold all of it
            yield table
