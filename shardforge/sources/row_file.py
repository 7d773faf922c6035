"""Rows of a table that need not fit in memory: in a temporary file, taken by number."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from shardforge.files import explain_os_error


class RowFile:
    """Record batches in a file without a name, in the folder for temporary files (TMPDIR), that goes with this object.

    It is mapped, so that the system keeps in memory what it has room for.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        try:
            with tempfile.NamedTemporaryFile(prefix="shardforge-") as file:
                with pa.ipc.new_file(file, schema) as writer:
                    for batch in batches:
                        writer.write_batch(batch)
                file.flush()
                reader = pa.ipc.open_file(pa.memory_map(file.name))
        except OSError as error:
            raise explain_os_error(error, Path(tempfile.gettempdir())) from error
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        self._schema = schema

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a whole column."""
        field = self._schema.field(name)
        return pa.chunked_array([batch[name] for batch in self._batches], field.type)

    def take(self, rows: np.ndarray, names: Sequence[str]) -> pa.Table:
        """Return columns of the rows with these numbers, in the order of `rows`."""
        order = np.argsort(rows, kind="stable")
        edges = np.searchsorted(rows[order], self._starts)
        pieces = [
            batch.select(names).take(pa.array(rows[order[edges[i] : edges[i + 1]]] - self._starts[i]))
            for i, batch in enumerate(self._batches)
            if edges[i] < edges[i + 1]
        ]
        schema = pa.schema([self._schema.field(name) for name in names])
        return pa.Table.from_batches(pieces, schema).combine_chunks().take(pa.array(np.argsort(order, kind="stable")))
