"""Removes what an earlier plan of a dataset wrote and the present one does not have."""

from __future__ import annotations

import os
from contextlib import suppress
from fnmatch import fnmatchcase

from shardforge.dataset.layout import INDEX_SUFFIX, Layout, is_shard_path, is_split_name
from shardforge.dataset.plan import Plan
from shardforge.dataset.receipt import read_receipt
from shardforge.inside import are_one_file, fold_name, open_folder, open_parent, remove_inside


def remove_stale(layout: Layout, plan: Plan) -> None:
    """Remove shards, receipts and indexes that are not of this plan, as `--replace` leaves them.

    A receipt decides over the shard that it bears the name of, and over nothing else.

    Raises:
        DatasetError: links lead out of the dataset; nothing is removed there.
    """
    planned = {fold_name(shard.path): shard.path for shard in plan.shards}
    for place in sorted(layout.receipts.glob("[!.]*.json")):
        receipt = read_receipt(place)
        if receipt is None or receipt.path in planned.values() or not is_shard_path(receipt.path):
            continue
        twin = planned.get(fold_name(receipt.path))
        if twin is None or not are_one_file(layout.out / receipt.path, layout.out / twin):
            remove_inside(layout.out, receipt.path)
            _remove_loader_indexes(layout, receipt.path.partition("/")[0])
        remove_inside(layout.out, place.relative_to(layout.out))
    for index in sorted(layout.indexes.glob("*.parquet")):
        if is_split_name(index.stem) and index.stem not in plan.splits:
            remove_inside(layout.out, index.relative_to(layout.out))
            remove_inside(layout.out, layout.sizes(index.stem).relative_to(layout.out))
            with suppress(OSError), open_parent(layout.out, index.stem) as (folder, split):
                os.rmdir(split, dir_fd=folder)  # unless someone else's files lie there, too


def _remove_loader_indexes(layout: Layout, split: str) -> None:
    with suppress(FileNotFoundError), open_folder(layout.out, layout.out / split) as folder:
        for name in os.listdir(folder):
            if fnmatchcase(name, f".*{INDEX_SUFFIX}"):
                os.unlink(name, dir_fd=folder)
