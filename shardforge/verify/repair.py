"""Repair a dataset: write the bad and missing shards again, to the very same bytes, and what lies beside them."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from shardforge.dataset.images import Refusal, Refused
from shardforge.dataset.layout import Layout
from shardforge.dataset.lock import lock_dataset
from shardforge.dataset.manifest import read_manifest
from shardforge.dataset.plan import Plan, PlannedShard, read_plan
from shardforge.dataset.receipt import find_receipt, read_receipt
from shardforge.dataset.shard import ShardTask, write_shard
from shardforge.dataset.write import finish_dataset
from shardforge.errors import DatasetError, ManifestError, ShardforgeError
from shardforge.executors import Executor
from shardforge.inside import move_inside
from shardforge.verify.problems import Problem

ProgressCall = Callable[[str, int, int], None]


def repair_dataset(path: Path, problems: Sequence[Problem], executor: Executor, *, progress: ProgressCall) -> list[str]:
    """Mend `problems` of the dataset whose manifest is at `path`; return a line for each thing done or not possible.

    Shards are written from the plan and the sources, and published only when their SHA-256 is the recorded one. Tars
    that the manifest does not know are moved to `.shardforge/set_aside`. Index, classes, sizes and manifest follow.

    Raises:
        DatasetError: the dataset has no plan (another tool wrote it), or another run is writing it.
    """
    layout = Layout(path.parent)
    plan = read_plan(layout.plan)
    with lock_dataset(layout.lock):
        shutil.rmtree(layout.scratch, ignore_errors=True)  # of a run that was killed
        lines = [_set_aside(layout, problem.file) for problem in problems if problem.code == "shard_extra"]
        bad = {problem.file for problem in problems if problem.shard}
        shards = [shard for shard in plan.shards if shard.path in bad or find_receipt(layout, shard) is None]
        failures = list(_write_again(layout, plan, shards, executor, progress))
        lines += [
            f"{shard.path}: written again" for shard in shards if not any(shard.path in line for line in failures)
        ]
        if not failures:
            finish_dataset(layout.out, plan, progress=progress)
            beside = [
                problem.file
                for problem in problems
                if not (problem.shard or problem.code.startswith("mapping_"))
                and layout.out.joinpath(problem.file).is_file()
            ]
            lines += [f"{file}: written again" for file in dict.fromkeys(beside)]
        return lines + failures


def _set_aside(layout: Layout, file: str) -> str:
    """Move a tar that the manifest does not know out of the way; return a line that says where it is, or why not."""
    place = next(name for name in _number(layout.set_aside / file) if not os.path.lexists(name))
    target = place.relative_to(layout.out)
    try:
        move_inside(layout.out, file, target)
    except DatasetError as error:
        return str(error)
    except OSError as error:
        return f"{file}: cannot be moved to {target} ({error.strerror}); see that this user may write there"
    return f"{file}: moved to {target}"


def _number(path: Path) -> Iterator[Path]:
    """Yield a path and others like it."""
    yield path
    yield from (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))


def _write_again(
    layout: Layout, plan: Plan, shards: Sequence[PlannedShard], executor: Executor, progress: ProgressCall
) -> list[str]:
    """Write the shards; return why some could not be restored."""
    known = _known_checksums(layout)
    threads = max(1, executor.workers)
    tasks = [
        ShardTask(
            str(layout.out),
            shard.row_group,
            shard.digest,
            threads,
            expected_sha256=known.get(shard.path),
            refused=_list_refused(layout, shard),
        )
        for shard in shards
    ]
    failures = []
    for done, result in enumerate(executor.run(write_shard, tasks), start=1):
        if isinstance(result.error, ShardforgeError):
            failures.append(str(result.error))
        else:
            result.unwrap()
        progress("repair", done, len(tasks))
    return failures


def _list_refused(layout: Layout, shard: PlannedShard) -> Refused:
    """Return the images that the shard was written without: those that are back since would give other bytes."""
    receipt = find_receipt(layout, shard)
    if receipt is None:
        return {}
    return {key: Refusal(reason, receipt.notes.get(key, "")) for key, reason in receipt.bad.items()}


def _known_checksums(layout: Layout) -> dict[str, str]:
    """Return each shard's SHA-256 by its receipt, or where that is gone by the manifest."""
    known: dict[str, str] = {}
    try:
        known = {entry.path: entry.sha256 for entry in read_manifest(layout.manifest).shards if entry.sha256}
    except ManifestError:
        known = {}  # the receipts are the better witness in any case
    for place in layout.private.joinpath("shards").glob("*.json"):
        receipt = read_receipt(place)
        if receipt is not None:
            known[receipt.path] = receipt.sha256
    return known
