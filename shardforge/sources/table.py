"""Kind `table`: one row per image, with a column of paths and whatever else is known."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from shardforge.errors import SourceError
from shardforge.sources.base import SourceSpec, locate_file
from shardforge.sources.columns import PATH_ALIASES, describe, find_column
from shardforge.sources.listing import make_file_batch, relative_path
from shardforge.sources.table_file import Columns, read_table


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
        """Yield a record per row of the table, in its order."""
        file = self.spec.file
        assert file is not None
        row = 0
        for columns in read_table(file):
            name = self._find_paths(columns)
            paths = self._read_paths(columns.pop(name), row)
            row += len(paths)
            yield make_file_batch(self.spec, paths, describe(columns, len(paths)))

    def _find_paths(self, columns: Columns) -> str:
        asked = self.spec.options.get("path")
        name = find_column(columns, PATH_ALIASES) if asked is None else asked
        if name is None or name not in columns:
            wanted = asked or f"one of {', '.join(PATH_ALIASES)}"
            raise SourceError(
                f"{self.spec.file}: no column of paths; expected {wanted}, found {', '.join(columns) or 'none'}; "
                f"name it by --option {self.spec.name}.path=COLUMN"
            )
        return name

    def _read_paths(self, values: Iterable[Any], before: int) -> Sequence[str]:
        root = os.fsencode(self.spec.root)
        paths = []
        for row, value in enumerate(values, start=before + 1):
            if not isinstance(value, str) or not value:
                raise SourceError(
                    f"{self.spec.file}, row {row}: the path is {value!r}; expected text, give each row a path"
                )
            paths.append(relative_path(root, value))
        return paths
