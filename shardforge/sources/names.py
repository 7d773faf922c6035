"""Names of records brought to one taxonomy: ranks filled in, synonyms replaced, common names added, and all counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.records import RANKS
from shardforge.sources.columns import dump_metadata, load_metadata_cell
from shardforge.taxonomy.resolve import NameResolver, Resolved
from shardforge.taxonomy.search import Status

#: Key in `metadata` under which the ranks stand as the source gave them, where others replaced them.
GIVEN = "given"

#: Names that are not counted one by one: nothing is to be done about them.
_FINE = (Status.RESOLVED, Status.UNNAMED)


class Naming:
    """A resolver applied to records, and counts of what became of their names so far.

    Attributes:
        images: Status -> records.
        names: Status -> name -> records, for those that a user may want to look at; a synonym with the accepted name.
        common_names: Records that got a common name.
        kept_common_names: Records that keep the common name of their source, in whatever language it is.
    """

    def __init__(self, resolver: NameResolver, *, label_is_name: bool) -> None:
        self._resolver = resolver
        self._columns = (*RANKS, "label") if label_is_name else RANKS
        self.images: Counter[Status] = Counter()
        self.names: dict[Status, Counter[str]] = {status: Counter() for status in Status if status not in _FINE}
        self.common_names = self.kept_common_names = 0

    @property
    def knows_ranks(self) -> bool:
        """Whether the files of names have ranks, not common names alone."""
        return self._resolver.knows_ranks

    def apply(self, batch: pa.Table) -> pa.Table:
        """Return a batch of records with the ranks and common names that the resolver finds, and count.

        A common name that the source gave stays. Ranks that were replaced are kept in `metadata`, under `GIVEN`.
        """
        first, inverse = _find_distinct([batch[name].combine_chunks() for name in self._columns])
        taxa = batch.select(self._columns).take(pa.array(first))
        columns = {name: taxa[name].combine_chunks() for name in self._columns}
        resolved = self._resolver.resolve(columns, columns.get("label"))
        self._count(resolved, np.bincount(inverse, minlength=len(first)))
        place = pa.array(inverse)
        found = {rank: resolved.ranks[rank].take(place) for rank in RANKS}
        lacking = pc.is_null(batch["common_name"])
        found["common_name"] = pc.coalesce(batch["common_name"], resolved.common_name.take(place))
        self.common_names += pc.sum(pc.and_(lacking, pc.is_valid(found["common_name"]))).as_py() or 0
        self.kept_common_names += batch["common_name"].length() - batch["common_name"].null_count
        found["metadata"] = _add_given(batch["metadata"], _list_replaced(columns, resolved).take(place))
        for name, values in found.items():
            batch = batch.set_column(batch.column_names.index(name), batch.schema.field(name), values)
        return batch

    def _count(self, resolved: Resolved, images: np.ndarray) -> None:
        for status in Status:
            rows = np.flatnonzero(resolved.status == status)
            self.images[status] += int(images[rows].sum())
            if status not in _FINE:
                names = resolved.name.take(pa.array(rows)).to_pylist()
                if status is Status.SYNONYM:
                    accepted = pc.coalesce(*(resolved.ranks[rank] for rank in reversed(RANKS))).take(pa.array(rows))
                    names = [f"{old} = {new}" for old, new in zip(names, accepted.to_pylist(), strict=True)]
                for name, count in zip(names, images[rows].tolist(), strict=True):
                    self.names[status][name] += count


def _find_distinct(columns: Sequence[pa.Array]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row of each combination of values, and the number of its combination for each row."""
    inverse = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        encoded = column.dictionary_encode()
        codes = np.asarray(encoded.indices.fill_null(len(encoded.dictionary)))
        _, inverse = np.unique(inverse * (len(encoded.dictionary) + 1) + codes, return_inverse=True)
    _, first = np.unique(inverse, return_index=True)
    return first, inverse


def _list_replaced(given: dict[str, pa.Array], resolved: Resolved) -> pa.Array:
    """Return for each taxon the ranks that were replaced as they were given, as one JSON object; null for none."""
    changed = {}
    for rank in RANKS:
        same = pc.equal(given[rank], resolved.ranks[rank]).fill_null(False)
        changed[rank] = pc.if_else(same, pa.scalar(None, pa.string()), given[rank]).to_pylist()
    rows = zip(*changed.values(), strict=True)
    return pa.array([dump_metadata(dict(zip(RANKS, row, strict=True))) for row in rows], pa.string())


def _add_given(metadata: pa.ChunkedArray, given: pa.Array) -> pa.Array:
    """Return the column `metadata` with the replaced ranks of each record in its object."""
    if given.null_count == len(given):
        return metadata
    pairs = zip(metadata.to_pylist(), given.to_pylist(), strict=True)
    return pa.array([old if ranks is None else _merge(old, ranks) for old, ranks in pairs], pa.string())


def _merge(old: str | None, ranks: str) -> str | None:
    if old is None:
        return f'{{"{GIVEN}":{ranks}}}'
    return dump_metadata(load_metadata_cell(old) | {GIVEN: load_metadata_cell(ranks)})
