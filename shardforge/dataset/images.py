"""The images of planned records: read, compared with what was mapped, converted; and those that kill their reader."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from shardforge import reasons
from shardforge.dataset.layout import Layout
from shardforge.dataset.plan import PlannedShard, read_plan_once, read_planned_rows
from shardforge.dataset.receipt import find_receipt
from shardforge.errors import ImageError, TaskError
from shardforge.executors import Executor
from shardforge.executors.items import begin_item
from shardforge.images.convert import Conversion, Converted, convert_image
from shardforge.records import HASH_DIGITS
from shardforge.sources.reading import read_record

#: Records that a thread takes at a time: enough to make handing over cheap, few enough to keep all threads busy.
_CHUNK = 16
#: Chunks that may be finished or under way ahead of the one being packed, for each thread.
_AHEAD = 4
#: Images that are tried as one task when their shard has killed its writer.
_PROBED = 256

#: A record as the plan has it.
Row = dict[str, Any]


class Refusal(NamedTuple):
    """Why an image is not read: a code of `shardforge.reasons`, and words."""

    reason: str
    note: str


#: Key -> why its image is not read.
Refused = Mapping[str, Refusal]


def convert_rows(
    rows: Sequence[Row], roots: Mapping[str, str], conversion: Conversion, *, threads: int, refused: Refused
) -> Iterator[tuple[Row, Converted | ImageError]]:
    """Yield each record with its encoded image, or with what is wrong with it, in the order of the rows."""

    def convert_chunk(start: int) -> list[Converted | ImageError]:
        chunk = enumerate(rows[start : start + _CHUNK], start)
        return [_convert(row, number, roots, conversion, refused) for number, row in chunk]

    starts = range(0, len(rows), _CHUNK)
    for start, images in zip(starts, _map_ordered(convert_chunk, starts, threads), strict=True):
        yield from zip(rows[start : start + _CHUNK], images, strict=True)


def is_back(row: Row, roots: Mapping[str, str], reason: str) -> bool:
    """Whether an image that could not be read for a passing reason may be read now."""
    if reason == reasons.TIMED_OUT:
        return True
    try:
        _read(row, roots)
    except ImageError:
        return False
    return True


@dataclass(frozen=True)
class ImageProbe:
    """Records of a shard in the dataset folder `out`, from `first` to `end` - 1, whose images are to be tried."""

    out: str
    row_group: int
    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first

    def part(self, first: int, end: int) -> ImageProbe:
        """Return the probe of some of the records."""
        return replace(self, first=self.first + first, end=self.first + end)


def probe_images(probe: ImageProbe) -> None:
    """Convert images one after another and keep nothing: those that kill their reader do so here."""
    layout = Layout(Path(probe.out))
    plan = read_plan_once(layout.plan)
    rows = read_planned_rows(layout.plan, probe.row_group).slice(probe.first, len(probe)).to_pylist()
    for _ in convert_rows(rows, plan.roots, plan.options.conversion, threads=1, refused={}):
        pass


def find_killers(out: Path, shards: Sequence[PlannedShard], executor: Executor) -> dict[int, dict[str, Refusal]]:
    """Return, by the row group of each shard, the images that kill whoever reads them."""
    layout = Layout(out)
    probes = [
        ImageProbe(str(out), shard.row_group, first, min(first + _PROBED, shard.samples))
        for shard in shards
        for first in range(0, shard.samples, _PROBED)
    ]
    found: dict[int, dict[str, Refusal]] = {shard.row_group: {} for shard in shards}
    by_group = {shard.row_group: shard for shard in shards}
    for result in executor.run(probe_images, probes):
        if result.failed is None:
            result.unwrap()
        else:
            group = result.task.row_group
            rows = read_planned_rows(layout.plan, group, ["key", "source", "path"])
            (row,) = rows.slice(result.task.first, 1).to_pylist()
            receipt = find_receipt(layout, by_group[group])
            found[group][row["key"]] = _refuse(row, result.failed, receipt.bad if receipt else {})
    return found


def _refuse(row: Row, error: TaskError, before: Mapping[str, str]) -> Refusal:
    """Say what is wrong with an image that makes its probe fail; `before` has the reasons of the last run."""
    reason, note = reasons.explain_failure(error, before.get(row["key"]))
    return Refusal(reason, f"{_name(row)}: {note}")


def _convert(
    row: Row, number: int, roots: Mapping[str, str], conversion: Conversion, refused: Refused
) -> Converted | ImageError:
    if row["key"] in refused:
        reason, note = refused[row["key"]]
        return ImageError(note, reason=reason)
    begin_item(number)
    try:
        data = _read(row, roots)
    except ImageError as error:  # names the file
        return error
    try:
        return convert_image(data, conversion)
    except ImageError as error:
        return ImageError(f"{_name(row)}: {error}", reason=error.reason)
    except MemoryError:
        return ImageError(f"{_name(row)}: there is not enough memory for it", reason=reasons.OUT_OF_MEMORY)
    except ImportError:  # no fault of the image
        raise
    except Exception as error:  # what nobody foresaw costs one image, too
        return ImageError(f"{_name(row)}: {type(error).__name__}: {error}", reason=reasons.INTERNAL_ERROR)


def _name(row: Row) -> str:
    return f"{row['source']}:{row['path']}"


def _read(row: Row, roots: Mapping[str, str]) -> bytes:
    """Return the bytes of a record's image, which are those that were mapped where their hash is known.

    Raises:
        ImageError: as `read_record`, or with the reason changed where the content is another one.
    """
    data = read_record(roots[row["source"]], row["path"], row["offset"], row["bytes"], row["mtime"])
    if row["content_hash"] is not None and hashlib.sha256(data).hexdigest()[:HASH_DIGITS] != row["content_hash"]:
        raise ImageError(
            f"{_name(row)}: its content changed since it was mapped, its size and time did not; restore it, or touch "
            "it and map again",
            reason=reasons.CHANGED,
        )
    return data


def _map_ordered(
    function: Callable[[int], list[Converted | ImageError]], starts: range, threads: int
) -> Iterator[list[Converted | ImageError]]:
    if threads <= 1:
        yield from map(function, starts)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[list[Converted | ImageError]]] = deque()
        for start in starts:
            pending.append(pool.submit(function, start))
            if len(pending) >= threads * _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
