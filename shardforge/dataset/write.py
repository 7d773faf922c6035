"""Write a dataset: plan it, make the shards that are missing or bad, then index, companions and manifest.

Safe to interrupt at any moment and to run again: finished shards are kept by checksum, the manifest comes last.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from shardforge.dataset.budget import Budget
from shardforge.dataset.classes import list_homonyms
from shardforge.dataset.images import find_killers
from shardforge.dataset.index import build_index, index_schema, write_index
from shardforge.dataset.layout import Layout
from shardforge.dataset.lock import lock_dataset
from shardforge.dataset.manifest import build_manifest, write_companions, write_manifest
from shardforge.dataset.options import WriteOptions
from shardforge.dataset.place import check_place, check_same, find_maker, settle_options
from shardforge.dataset.plan import Plan, PlannedShard
from shardforge.dataset.planning import write_plan
from shardforge.dataset.receipt import Receipt, find_receipt
from shardforge.dataset.record import record_dataset
from shardforge.dataset.shard import ShardResult, ShardTask, write_shard
from shardforge.dataset.spellings import list_spellings
from shardforge.dataset.stale import remove_stale
from shardforge.errors import BudgetExceededError, DatasetError, UsageError
from shardforge.executors import Executor
from shardforge.files import explain_os_error
from shardforge.mapping import open_mapping
from shardforge.mapping.base import Mapping as MappingDatabase
from shardforge.reasons import OK, PASSING

ProgressCall = Callable[[str, int, int], None]
#: With this many shards for each worker, whole shards keep all cores busy to the end.
_MANY_SHARDS = 16


@dataclass
class WriteReport:
    """What a run did: shards written and kept, samples and bytes in them, images by outcome.

    `homonyms` are the names of the classes that share a name and were told apart by higher ranks; `spellings` the names
    in several spellings, and those of no taxon (see `list_spellings`); `textless` samples have empty text members,
    since nothing is known of their taxon; `passing` images were not written for reasons that may be gone the next time;
    `faults` are notes on images that met a fault of this package. The 16-bit samples of `fewer_bits` images were taken
    for ones of fewer bits.
    """

    written: int = 0
    kept: int = 0
    samples: int = 0
    bytes: int = 0
    small: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    homonyms: list[str] = field(default_factory=list)
    spellings: list[str] = field(default_factory=list)
    textless: int = 0
    passing: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    fewer_bits: int = 0
    complete: bool = False

    def add(self, result: ShardResult) -> None:
        """Count one shard."""
        self.kept += result.kept
        self.written += not result.kept
        self.samples += result.samples
        self.bytes += result.bytes
        self.small += result.small
        self.outcomes[OK] += result.samples
        self.outcomes.update(result.bad.values())
        self.passing.update(reason for reason in result.bad.values() if reason in PASSING)
        self.faults += result.faults
        self.fewer_bits += result.fewer_bits


def prepare_plan(mapping: MappingDatabase, out: Path, options: WriteOptions, *, replace: bool = False) -> Plan:
    """Plan the dataset in `out`, or find that the plan there is the same one.

    Raises:
        UsageError: `out` holds something else and `replace` was not given.
    """
    layout = Layout(out)
    try:
        layout.scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, layout.scratch) from error
    proposed = layout.scratch / f"plan.{os.uname().nodename}.{os.getpid()}.parquet"
    try:
        if replace:
            plan = write_plan(mapping, options, proposed)
        else:
            plan = write_plan(mapping, settle_options(layout, options), proposed, makers=find_maker(layout))
            check_same(layout, plan)
        os.replace(proposed, layout.plan)
    finally:
        proposed.unlink(missing_ok=True)
    return plan


def write_shards(
    out: Path,
    plan: Plan,
    shards: Sequence[PlannedShard],
    executor: Executor,
    *,
    budget: Budget,
    retry_bad: bool = False,
    progress: ProgressCall,
) -> WriteReport:
    """Write those of `shards` that are missing or bad, largest first.

    Raises:
        BudgetExceededError: too many images are bad; what is finished is kept.
        DatasetError, TaskError: a shard could not be written; the others that were under way are kept.
    """
    threads = _threads_per_shard(executor.workers, len(shards))
    largest_first = sorted(shards, key=lambda shard: -shard.samples)
    tasks = [ShardTask(str(out), shard.row_group, shard.digest, threads, retry_bad) for shard in largest_first]
    report = WriteReport()
    total = sum(shard.samples for shard in shards)
    limit = budget.limit(total)
    progress("write", 0, total)
    for result in _run_tasks(executor, tasks, {shard.row_group: shard for shard in shards}):
        report.add(result)
        bad = sum(count for reason, count in report.outcomes.items() if reason != OK)
        progress("write", report.samples + bad, total)
        if bad > limit:
            raise BudgetExceededError(
                f"{bad} of {report.samples + bad} images so far are bad ({_count_text(report.outcomes)}), more than "
                f"--max-bad allows ({limit} of {total}); finished shards are kept, the files in "
                f"{Layout(out).private / 'shards'} say what is wrong: run again with a higher --max-bad to accept it"
            )
    return report


def _run_tasks(
    executor: Executor, tasks: Sequence[ShardTask], shards: Mapping[int, PlannedShard]
) -> Iterator[ShardResult]:
    """Yield what came of each shard; one that kills its writer is written without the images that do so."""
    lost: list[ShardTask] = []
    for result in executor.run(write_shard, tasks):
        if result.lost is None:
            yield result.unwrap()
        else:
            lost.append(result.task)
    if lost:
        killers = find_killers(Path(lost[0].out), [shards[task.row_group] for task in lost], executor)
        again = [replace(task, threads=1, refused={**task.refused, **killers[task.row_group]}) for task in lost]
        yield from (result.unwrap() for result in executor.run(write_shard, again))


def finish_dataset(out: Path, plan: Plan, *, progress: ProgressCall) -> list[Receipt]:
    """Write index, classes, sizes and, last, the manifest from the receipts of all shards.

    Raises:
        DatasetError: a shard is not finished yet.
    """
    layout = Layout(out)
    receipts = [_finished(layout, shard) for shard in plan.shards]
    done = 0
    for split in plan.splits:
        schema = index_schema(plan.options.extensions_of(split))
        pairs = [pair for pair in zip(plan.shards, receipts, strict=True) if pair[0].split == split]
        write_index(layout.index(split), (build_index(*pair, layout.plan) for pair in pairs), schema, layout.scratch)
        done += len(pairs)
        progress("index", done, len(plan.shards))
    write_companions(layout, plan, receipts)
    write_manifest(layout, build_manifest(plan, receipts))
    return receipts


def write_dataset(
    db: Path,
    out: Path,
    options: WriteOptions,
    executor: Executor,
    *,
    part: str | None = None,
    replace: bool = False,
    retry_bad: bool = False,
    budget: Budget | None = None,
    progress: ProgressCall = lambda stage, done, total: None,
) -> WriteReport:
    """Write the dataset that `options` describe into `out`, or go on with it, and record it in the mapping `db`.

    The mapping is open only while planning and recording, so that others can use it in between. `part` ("A-B" or "I/N")
    writes only some of the shards and leaves index and manifest to a later run without it, so that several machines can
    share the work.
    """
    layout = Layout(out)
    check_place(layout)
    with lock_dataset(layout.lock, shared=part is not None):
        if part is None:
            shutil.rmtree(layout.scratch, ignore_errors=True)
        progress("plan", 0, 0)
        with open_mapping(db) as mapping:
            plan = prepare_plan(mapping, out, options, replace=replace)
        shards = plan.shards if part is None else select_shards(plan, part)
        report = write_shards(
            out, plan, shards, executor, budget=budget or Budget(), retry_bad=retry_bad, progress=progress
        )
        if part is None:
            receipts = finish_dataset(out, plan, progress=progress)
            remove_stale(layout, plan)
            shutil.rmtree(layout.scratch, ignore_errors=True)
            with open_mapping(db, write=True) as mapping:
                report.outcomes = record_dataset(mapping, layout, plan, receipts, progress=progress)
                report.homonyms = list_homonyms(mapping)
                report.spellings = list_spellings(mapping)
            report.textless = _count_textless(plan, receipts)
            report.complete = True
    return report


def _count_textless(plan: Plan, receipts: list[Receipt]) -> int:
    """Return how many samples have empty text members; one of these is empty when all are."""
    extension = next(iter(plan.options.text_members), None)
    return sum(receipt.sizes[extension].count(0) for receipt in receipts) if extension else 0


def select_shards(plan: Plan, part: str) -> list[PlannedShard]:
    """Return the shards that `part` names: "A-B" counts over all splits from 0, "I/N" is the I-th of N equal parts.

    With more parts than shards, some parts are empty.

    Raises:
        UsageError: the text is neither, or A-B is not in the plan.
    """
    count = len(plan.shards)
    try:
        if "/" in part:
            index, parts = (int(number) for number in part.split("/"))
            if not 1 <= index <= parts:
                raise ValueError
            return plan.shards[count * (index - 1) // parts : count * index // parts]
        first, last = (int(number) for number in part.split("-"))
    except ValueError as error:
        raise UsageError(f"--shards {part}: expected A-B (for instance 0-15) or I/N (for instance 2/8)") from error
    if not 0 <= first <= last < count:
        raise UsageError(f"--shards {part}: the plan has shards 0 to {count - 1}")
    return plan.shards[first : last + 1]


def _threads_per_shard(workers: int, shards: int) -> int:
    """Return the conversion threads for each shard.

    With few shards, two threads in each worker let the last shards use the cores of workers that are done; with fewer
    shards than workers, the shards share all cores. With many, one thread is the cheapest.
    """
    if workers == 0 or shards >= _MANY_SHARDS * workers:
        return 1
    return max(2, -(-workers // max(1, shards)))


def _finished(layout: Layout, shard: PlannedShard) -> Receipt:
    receipt = find_receipt(layout, shard)
    if receipt is None:
        raise DatasetError(f"{layout.out / shard.path}: is not written yet; run `shardforge write` without --shards")
    return receipt


def _count_text(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in outcomes.most_common() if reason != OK)
