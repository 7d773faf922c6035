"""One record for each path: rows of a listing that stand for the same file, spelled in one way or several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from shardforge.mapping.base import Mapping
from shardforge.paths import make_key, path_from_text
from shardforge.records import DESCRIPTIVE
from shardforge.sources import SourceSpec
from shardforge.sources.written_paths import are_odd, plain_path

#: Columns that tell whether two rows of one path say the same.
_COMPARED = ("offset", "bytes", "reason", *DESCRIPTIVE)
_PLAIN = "SELECT key AS identity FROM listed"
_SPELLED = (
    "SELECT key AS identity FROM listed WHERE position NOT IN (SELECT position FROM spelled)"
    " UNION ALL SELECT identity FROM spelled"
)


@dataclass(frozen=True)
class Repeated:
    """What was merged.

    Attributes:
        rows: Rows that went, since another one of their path stays.
        path: One of the paths whose rows say the same.
        torn: Paths whose rows differ.
        torn_rows: Those of `rows` that are of such a path.
        torn_path: One of these.
    """

    rows: int = 0
    path: str = ""
    torn: int = 0
    torn_rows: int = 0
    torn_path: str = ""


def find_spelled(spec: SourceSpec, batch: pa.Table, first: int) -> pa.Table:
    """Return `position` and `identity` of the listed rows whose path is not spelled plainly: the key of the plain one.

    `first` is the position of the first row. `..` behind a link leads elsewhere: such a path is itself.
    """
    odd = np.flatnonzero(np.asarray(are_odd(batch["path"])))
    rows = batch.select(["path", "offset", "reason"]).take(pa.array(odd)).to_pylist()
    plain = [plain_path(row["path"]) for row in rows]
    kept = [i for i, row in enumerate(rows) if plain[i] != row["path"] and _is_same(spec, row, plain[i])]
    return pa.table(
        {
            "position": pa.array([first + int(odd[i]) for i in kept], pa.int64()),
            "identity": pa.array([make_key(spec.name, plain[i]) for i in kept], pa.string()),
        }
    )


def merge_repeated(mapping: Mapping) -> Repeated:
    """Leave one row for each path in `listed`; see sql/merge_repeated.sql."""
    [(spelled,)] = mapping.rows("SELECT count(*) FROM spelled")
    identities = _SPELLED if spelled else _PLAIN
    mapping.execute(mapping.query("find_repeated").format(identities=identities))
    [(total, kept)] = mapping.rows("SELECT count(*), count(DISTINCT identity) FROM repetitions")
    if not total:
        return Repeated()
    mapping.execute(mapping.query("merge_repeated").format(differing=_differing(_COMPARED)))
    [(torn, torn_rows)] = mapping.rows("SELECT count(*), CAST(coalesce(sum(rows - 1), 0) AS BIGINT) FROM torn")
    example = "SELECT min(l.path) FROM repetitions AS r JOIN listed AS l ON l.position = r.position WHERE r.identity"
    [(path,)] = mapping.rows(f"{example} NOT IN (SELECT identity FROM torn)")
    [(torn_path,)] = mapping.rows(f"{example} IN (SELECT identity FROM torn)")
    return Repeated(total - kept, path or "", torn, torn_rows, torn_path or "")


def _is_same(spec: SourceSpec, row: dict[str, object], plain: str) -> bool:
    """Whether a row and a plainly spelled path are of one file."""
    if row["offset"] is not None or row["reason"] is not None or ".." not in str(row["path"]).split("/"):
        return True
    places = [os.path.join(os.fsencode(spec.root), path_from_text(path)) for path in (str(row["path"]), plain)]
    try:
        return os.path.samefile(*places)
    except OSError:
        return True


def _differing(columns: Sequence[str]) -> str:
    """Return the SQL for the names of the columns in which the rows of a group differ, each after ', '."""
    return " || ".join(
        f'CASE WHEN count(l."{name}") NOT IN (0, count(*)) OR min(l."{name}") <> max(l."{name}") '
        f"THEN ', {name}' ELSE '' END"
        for name in columns
    )
