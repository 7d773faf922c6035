"""Write one shard: read its records from the plan, convert the images, pack them, publish the tar.

`write_shard` is the work function that executors run. It is pure in its bytes: the same plan and the same source files
give the same tar on any machine, at any number of workers and threads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from shardforge.dataset.images import Refused, convert_rows, is_back
from shardforge.dataset.layout import Layout
from shardforge.dataset.options import require_encoder
from shardforge.dataset.plan import Plan, PlannedShard, read_plan_once, read_planned_rows
from shardforge.dataset.receipt import Receipt, find_receipt
from shardforge.dataset.tarwriter import ShardWriter
from shardforge.errors import DatasetError, ImageError
from shardforge.files import atomic_write, explain_os_error, sha256_file
from shardforge.images.convert import Conversion, Converted
from shardforge.images.depth import FEWER_BITS
from shardforge.reasons import INTERNAL_ERROR, PASSING
from shardforge.records import RANKS
from shardforge.taxonomy.text import make_text

JSON_COLUMNS = (
    *("key", "source", "path", "label", "group_id", *RANKS),
    *("common_name", "license", "author", "url", "width", "height"),
)
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class ShardTask:
    """One shard to write into the dataset folder `out`: that with this `digest`, in this row group of its plan.

    `threads` convert images side by side. A finished shard is written again when images that it misses for a passing
    reason are back, with `retry_bad` when it misses any. The images of `refused` are not read. `expected_sha256`, if
    given, is what the new shard must have: repair restores a shard or leaves it.
    """

    out: str
    row_group: int
    digest: str
    threads: int = 1
    retry_bad: bool = False
    expected_sha256: str | None = None
    refused: Refused = field(default_factory=dict)


@dataclass(frozen=True)
class ShardResult:
    """What came of a shard: `kept` as it was, or written.

    `faults` are notes on images that met a fault of ours; `fewer_bits` counts those whose 16-bit samples were taken for
    ones of fewer bits.
    """

    path: str
    kept: bool
    samples: int
    bytes: int
    small: int
    bad: dict[str, str]
    faults: tuple[str, ...] = ()
    fewer_bits: int = 0


def write_shard(task: ShardTask) -> ShardResult:
    """Write the shard, or keep the one that is there when its bytes are those of its receipt and plan.

    Raises:
        DatasetError: the disk is full, the folder cannot be written, the bytes are not the expected ones, or the plan
            is no longer the one that the task is of.
    """
    layout = Layout(Path(task.out))
    plan = read_plan_once(layout.plan)
    shard = plan.shards[task.row_group] if task.row_group < len(plan.shards) else None
    if shard is None or shard.digest != task.digest:
        raise DatasetError(f"{layout.plan}: another run replaced it; let that run end, then run this one again")
    receipt = find_receipt(layout, shard)
    try:
        if receipt is not None and _can_keep(task, layout, plan, shard, receipt):
            return _result(receipt, kept=True)
    except OSError as error:
        raise explain_os_error(error, layout.out / shard.path) from error
    return _result(_write(task, layout, plan, shard), kept=False)


def _result(receipt: Receipt, *, kept: bool) -> ShardResult:
    faults = tuple(receipt.notes[key] for key, reason in receipt.bad.items() if reason == INTERNAL_ERROR)
    fewer_bits = sum(FEWER_BITS in note for key, note in receipt.notes.items() if key not in receipt.bad)
    counts = (receipt.samples, receipt.bytes, receipt.small)
    return ShardResult(receipt.path, kept, *counts, receipt.bad, faults, fewer_bits)


def _can_keep(task: ShardTask, layout: Layout, plan: Plan, shard: PlannedShard, receipt: Receipt) -> bool:
    tar = layout.out / shard.path
    return (
        not (task.retry_bad and receipt.bad)
        and all(receipt.bad.get(key) == refusal.reason for key, refusal in task.refused.items())
        and tar.is_file()
        and tar.stat().st_size == receipt.bytes
        and not _may_gain(task, layout, plan, shard, receipt)
        and sha256_file(tar) == receipt.sha256
    )


def _may_gain(task: ShardTask, layout: Layout, plan: Plan, shard: PlannedShard, receipt: Receipt) -> bool:
    """Whether images that the shard misses for a passing reason can be read now."""
    passing = {key: reason for key, reason in receipt.bad.items() if reason in PASSING and key not in task.refused}
    if not passing:
        return False
    rows = read_planned_rows(layout.plan, shard.row_group)
    missing = rows.filter(pa.array([key in passing for key in rows["key"].to_pylist()]))
    return any(is_back(row, plan.roots, passing[row["key"]]) for row in missing.to_pylist())


def _write(task: ShardTask, layout: Layout, plan: Plan, shard: PlannedShard) -> Receipt:
    options = plan.options
    require_encoder(options, shard.path)
    members, extensions = options.members_of(shard.split), options.extensions_of(shard.split)
    texts = options.text_members
    rows = read_planned_rows(layout.plan, shard.row_group).to_pylist()
    bad: dict[str, str] = {}
    notes: dict[str, str] = {}
    small = 0
    tar = layout.out / shard.path
    with atomic_write(tar, scratch=layout.scratch) as file:
        writer = ShardWriter(file, extensions)
        images = convert_rows(rows, plan.roots, options.conversion, threads=task.threads, refused=task.refused)
        for row, image in images:
            if isinstance(image, ImageError):
                bad[row["key"]] = image.reason
                notes[row["key"]] = str(image)
            else:
                small += _is_small(image, options.conversion)
                if image.notes:
                    notes[row["key"]] = "; ".join(image.notes)
                writer.add_sample(row["key"], (image.data, *(make_member(name, row, texts) for name in members)))
        sha256 = writer.finish()
        _check_expected(task, shard, sha256, [notes[key] for key in bad])
    receipt = Receipt(
        path=shard.path,
        digest=shard.digest,
        sha256=sha256,
        bytes=writer.size,
        samples=len(rows) - len(bad),
        small=small,
        sizes=dict(zip(extensions, writer.sizes, strict=True)),
        crcs=dict(zip(extensions, writer.crcs, strict=True)),
        bad=bad,
        notes=notes,
    )
    receipt.write(layout.receipt(shard.path), layout.scratch)
    return receipt


def _is_small(image: Converted, conversion: Conversion) -> bool:
    """Whether an image stayed smaller than the one size that all were to have."""
    return conversion.resize in ("squash", "crop") and (image.width, image.height) != conversion.size


def _check_expected(task: ShardTask, shard: PlannedShard, sha256: str, notes: list[str]) -> None:
    if task.expected_sha256 in (None, sha256):
        return
    why = "; ".join(notes[:3]) or "the source files or the libraries are not those of the first run"
    raise DatasetError(
        f"{shard.path}: cannot be restored to the same bytes ({why}); bring the sources back, "
        "or map, split and write the dataset again with --replace"
    )


def make_member(name: str, row: dict[str, Any], texts: Mapping[str, str]) -> bytes | None:
    """Return the bytes of the member `name` ("cls", "json" or "COLUMN.txt") of the sample that `row` plans.

    `texts` are the members that are texts about the taxon, by their kind. None for the class of a record that has none.
    """
    if name in texts:
        return make_text(texts[name], row).encode()
    if name == "cls":
        return None if row["class_index"] is None else b"%d" % row["class_index"]
    if name == "json":
        return _make_json(row)
    text: str | None = row[name.removesuffix(".txt")]
    return (text or "").encode()


def _make_json(row: dict[str, Any]) -> bytes:
    """Return what is known of the image as one JSON object: known columns that have a value, then the others."""
    content: dict[str, Any] = {name: value for name in JSON_COLUMNS if (value := row[name]) is not None}
    if row["metadata"] is not None:
        content["metadata"] = json.loads(row["metadata"])
    return _JSON.encode(content).encode()
