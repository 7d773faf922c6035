"""Perceptual hashes in the mapping: computed for contents that have none yet, read as arrays of bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge import reasons
from shardforge.duplicates import MIN_QUALITY
from shardforge.duplicates.bands import WORDS, Hashes
from shardforge.duplicates.hashing import HashTask, hash_part, take_fingerprints
from shardforge.executors import Executor
from shardforge.mapping import Mapping

_TASK_ROWS = 512
_QUERY_ROWS = 32 * _TASK_ROWS
_FLUSH_ROWS = 50_000

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Hashing:
    """What a run of `hash_contents` did: contents hashed now, and those it could not hash by reason."""

    hashed: int
    failed: dict[str, int]


def hash_contents(
    mapping: Mapping, executor: Executor, *, progress: Progress = lambda stage, done, total: None
) -> Hashing:
    """Hash every usable content of the mapping that has no perceptual hash; each content once.

    What cannot be decoded is remembered with its reason; a file that is not as it was mapped is tried again next time.
    An interrupted run keeps what it has.
    """
    mapping.execute(mapping.query("create_duplicates"))
    mapping.index("perceptual_hashes", "content_hash")
    mapping.execute(mapping.query("stage_unhashed"))
    mapping.index("unhashed", "number")
    [(total,)] = mapping.rows("SELECT count(*) FROM unhashed")
    failed: Counter[str] = Counter()
    pending: list[pa.Table] = []
    done = 0
    try:
        for result in executor.run(hash_part, _make_tasks(mapping, total)):
            found = take_fingerprints(result)
            done += found.num_rows
            failed.update(found["reason"].drop_null().to_pylist())
            pending.append(_keep_lasting(found))
            if sum(table.num_rows for table in pending) >= _FLUSH_ROWS:
                _flush(mapping, pending)
            progress("hash images", done, total)
    finally:
        _flush(mapping, pending)
    mapping.execute("DROP TABLE unhashed")
    return Hashing(done - failed.total(), dict(failed))


def read_hashes(mapping: Mapping, min_quality: int = MIN_QUALITY) -> tuple[pa.ChunkedArray, Hashes]:
    """Return the contents of usable images and their hashes, in the order of the contents.

    Hashes whose quality is below `min_quality` are left out: they rest on noise.
    """
    contents: list[pa.Array] = []
    hashes = [np.empty((0, WORDS), np.uint64)]
    for batch in mapping.batches(mapping.query("select_hashes"), min_quality=min_quality):
        contents.extend(batch["content_hash"].chunks)
        hashes.append(parse_hashes(batch["hash"]))
    return pa.chunked_array(contents, pa.string()), np.concatenate(hashes)


def count_unsearched(mapping: Mapping, min_quality: int = MIN_QUALITY) -> dict[str, int]:
    """Return the usable images that are not compared by their pictures, by why; see sql/select_unsearched.sql."""
    return dict(mapping.rows(mapping.query("select_unsearched"), min_quality=min_quality))


def parse_hashes(texts: pa.ChunkedArray) -> Hashes:
    """Return hashes of 64 hex digits as four words each; none may be null."""
    digits = "".join(texts.to_pylist())
    return np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64).reshape(len(texts), WORDS)


def _make_tasks(mapping: Mapping, total: int) -> Iterator[HashTask]:
    for first in range(0, total, _QUERY_ROWS):
        rows = mapping.rows(
            'SELECT root, path, "offset", bytes, mtime, reason, content_hash FROM unhashed'
            " WHERE number >= $first AND number < $end ORDER BY number",
            first=first,
            end=first + _QUERY_ROWS,
        )
        for root, of_root in groupby(rows, lambda row: str(row[0])):
            table = _listing([row[1:] for row in of_root])
            for start in range(0, table.num_rows, _TASK_ROWS):
                yield HashTask(root, table.slice(start, _TASK_ROWS))


def _listing(rows: list[tuple[object, ...]]) -> pa.Table:
    texts = dict.fromkeys(("path", "reason", "content_hash"), pa.string())
    types = [
        (name, texts.get(name, pa.int64())) for name in ("path", "offset", "bytes", "mtime", "reason", "content_hash")
    ]
    return pa.table(dict(zip(dict(types), zip(*rows, strict=True), strict=True)), pa.schema(types))


def _keep_lasting(found: pa.Table) -> pa.Table:
    """Drop the rows of images that may be read better next time."""
    later = pc.is_in(found["reason"], value_set=pa.array(reasons.PASSING))
    return found.filter(pc.and_(pc.invert(later), pc.is_valid(found["content_hash"])))


def _flush(mapping: Mapping, pending: list[pa.Table]) -> None:
    if pending:
        mapping.insert("perceptual_hashes", pa.concat_tables(pending).combine_chunks())
        pending.clear()
