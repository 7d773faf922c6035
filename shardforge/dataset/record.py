"""Record a finished dataset in the mapping: its shards, where each key landed, and the outcome of every image."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa

from shardforge import __version__
from shardforge.dataset.collect import collect_planned
from shardforge.dataset.index import build_index
from shardforge.dataset.layout import Layout
from shardforge.dataset.plan import Plan
from shardforge.dataset.receipt import Receipt
from shardforge.mapping import Mapping
from shardforge.reasons import OK


def record_dataset(
    mapping: Mapping,
    layout: Layout,
    plan: Plan,
    receipts: list[Receipt],
    *,
    progress: Callable[[str, int, int], None],
) -> Counter[str]:
    """Replace what the mapping holds of the dataset in this folder; return the number of records by outcome."""
    dataset = str(layout.out.resolve())
    with mapping.transaction():
        for table, column in (
            ("datasets", "out"),
            ("shards", "dataset"),
            ("samples", "dataset"),
            ("outcomes", "dataset"),
            ("notes", "dataset"),
        ):
            mapping.execute(f"DELETE FROM {table} WHERE {column} = $dataset", dataset=dataset)
        mapping.insert("datasets", _dataset_row(dataset, plan))
        mapping.insert("shards", _shard_rows(dataset, plan, receipts))
        for done, (shard, receipt) in enumerate(zip(plan.shards, receipts, strict=True), start=1):
            index = build_index(shard, receipt, layout.plan)
            mapping.insert("samples", _sample_rows(dataset, shard.split, index))
            mapping.insert("outcomes", _outcome_rows(dataset, index["key"], receipt.bad))
            if receipt.notes:
                mapping.insert("notes", _note_rows(dataset, receipt.notes))
            progress("record", done, len(plan.shards))
        collect_planned(mapping, plan.options)
        mapping.execute(mapping.query("insert_outcomes"), dataset=dataset, name=plan.options.split_run)
    counts = mapping.rows(
        "SELECT reason, count(*) FROM outcomes WHERE dataset = $dataset GROUP BY reason", dataset=dataset
    )
    return Counter(dict(counts))


def _dataset_row(dataset: str, plan: Plan) -> pa.Table:
    return pa.table(
        {
            "name": [plan.options.name],
            "out": [dataset],
            "options": [json.dumps(plan.options.to_json())],
            "plan_sha256": [plan.sha256],
            "written_at": [datetime.now(UTC).isoformat(timespec="seconds")],
            "tool_version": [__version__],
        }
    )


def _shard_rows(dataset: str, plan: Plan, receipts: list[Receipt]) -> pa.Table:
    return pa.table(
        {
            "dataset": [dataset] * len(receipts),
            "split": [shard.split for shard in plan.shards],
            "shard": [shard.number for shard in plan.shards],
            "filename": [receipt.path for receipt in receipts],
            "samples": [receipt.samples for receipt in receipts],
            "bytes": [receipt.bytes for receipt in receipts],
            "sha256": [receipt.sha256 for receipt in receipts],
        }
    )


def _sample_rows(dataset: str, split: str, index: pa.Table) -> pa.Table:
    return pa.table(
        {
            "dataset": pa.repeat(dataset, index.num_rows),
            "key": index["key"],
            "split": pa.repeat(split, index.num_rows),
            "shard": index["shard"],
            "position": index["position"],
        }
    )


def _outcome_rows(dataset: str, written: pa.ChunkedArray, bad: dict[str, str]) -> pa.Table:
    keys = pa.concat_arrays([*written.chunks, pa.array(bad, pa.string())])
    return pa.table(
        {
            "dataset": pa.repeat(dataset, len(keys)),
            "key": keys,
            "reason": pa.concat_arrays([pa.repeat(OK, len(written)), pa.array(bad.values(), pa.string())]),
        }
    )


def _note_rows(dataset: str, notes: dict[str, str]) -> pa.Table:
    columns = {"key": pa.array(notes, pa.string()), "note": pa.array(notes.values(), pa.string())}
    return pa.table({"dataset": pa.repeat(dataset, len(notes)), **columns})
