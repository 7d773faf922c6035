"""Verify shards on workers: a member that kills whoever reads it is a problem of its shard, and the others are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from shardforge.executors import Executor
from shardforge.verify.problems import Problem
from shardforge.verify.shard import ShardCheck, ShardFindings, verify_shard

#: Samples that may kill their reader before the rest of the shard is given up.
_MOST_DEADLY = 10


def run_checks(executor: Executor, checks: Sequence[ShardCheck]) -> Iterator[tuple[ShardCheck, ShardFindings]]:
    """Yield each check with what was found, as they finish."""
    original = {check.file: check for check in checks}
    pending = checks
    while pending:
        again = []
        for result in executor.run(verify_shard, pending):
            check = result.task
            if result.lost is None:
                yield original[check.file], result.unwrap()
            elif result.lost.position >= 0 and len(check.deadly) < _MOST_DEADLY:
                again.append(replace(check, deadly={**check.deadly, result.lost.position: result.lost.why}))
            else:
                found = f"{result.lost.why}, {len(check.deadly) + 1} times"
                yield original[check.file], ShardFindings([Problem("reader_killed", check.file, found=found)])
        pending = again
