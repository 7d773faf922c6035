"""Kind `table`: one row per image, with a column of paths and whatever else is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa

from shardforge.errors import SourceError, shorten_list
from shardforge.sources.base import SourceSpec, locate_file
from shardforge.sources.columns import PATH_ALIASES, as_text, describe, find_column
from shardforge.sources.table_file import Columns, read_table
from shardforge.sources.written_paths import make_named_batch, make_nameless_batch


class TableSource:
    """CSV, TSV, JSON Lines or Parquet, one row per image."""

    options: ClassVar[Mapping[str, str]] = {
        "path": f"the column of paths (default: the first there is of {', '.join(PATH_ALIASES)})",
        "root": "the folder that paths start from, named from the folder of the table (default: that folder)",
    }
    locate = staticmethod(locate_file)

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec

    def list(self) -> Iterator[pa.Table]:
        """Yield a record per row of the table, in its order.

        A row without a path, or without anything, is a record that is named by its number and cannot be used.

        Raises:
            SourceError: it is no table, has no column of paths, or no path at all.
        """
        file = self.spec.file
        assert file is not None
        before, some = 0, False
        for columns in read_table(file):
            name = self._find_paths(columns)
            paths = [_read_path(value) for value in columns.pop(name)]
            nameless = [i for i, path in enumerate(paths) if path is None]
            if nameless:
                yield make_nameless_batch(self.spec, file, [f"row {before + i + 1}" for i in nameless])
                kept = [i for i, path in enumerate(paths) if path]
                columns = {name: [values[i] for i in kept] for name, values in columns.items()}
            before += len(paths)
            names = [path for path in paths if path]
            if names:
                some = True
                yield make_named_batch(self.spec, names, describe(columns, len(names)))
        if not some:
            raise SourceError(
                f"{file}: no row has a path; fill in the column of paths, or name another by --option "
                f"{self.spec.name}.path=COLUMN"
            )

    def _find_paths(self, columns: Columns) -> str:
        asked = self.spec.options.get("path")
        name = find_column(columns, PATH_ALIASES) if asked is None else asked
        if name is None or name not in columns:
            wanted = asked or f"one of {', '.join(PATH_ALIASES)}"
            raise SourceError(
                f"{self.spec.file}: no column of paths; expected {wanted}, found {shorten_list(columns)}; "
                f"name it by --option {self.spec.name}.path=COLUMN"
            )
        return name


def _read_path(value: Any) -> str | None:
    """Return a cell as a path: text, or a number that is the whole name of a file; None for nothing else."""
    if isinstance(value, str):
        return value or None
    return as_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
