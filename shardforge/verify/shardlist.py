"""Verify tars that any tool wrote: no manifest, only the paths."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shardforge.braces import expand_braces
from shardforge.errors import UsageError
from shardforge.executors import Executor
from shardforge.paths import require_local
from shardforge.samples import LABEL, SampleNotes
from shardforge.tarfiles import find_compression
from shardforge.verify.checks import run_checks
from shardforge.verify.problems import Problem
from shardforge.verify.shard import ShardCheck

#: Where nothing says which samples have a class, a sample without one is no damage.
_OPTIONAL = frozenset({LABEL})


@dataclass(frozen=True)
class ShardlistFindings:
    """The problems of all shards, and what is odd about their samples."""

    problems: list[Problem]
    notes: SampleNotes


def verify_shardlist(
    patterns: Sequence[str],
    level: str,
    executor: Executor,
    *,
    classes: int | None,
    strict: bool = False,
    progress: Callable[[str, int, int], None],
) -> ShardlistFindings:
    """Return what is wrong with the shards that `patterns` (paths with braces or *, or folders) name.

    Level "decode" reads everything, "size" only looks whether the shards are there. With `strict` they are to be as
    `shardforge write` makes them.

    Raises:
        UsageError: the patterns name no path.
    """
    paths = [path for pattern in patterns for path in _expand(pattern)]
    checks = [
        ShardCheck(path, path, level, classes=classes, optional=_OPTIONAL, strict=strict)
        for path in dict.fromkeys(paths)
    ]
    problems: dict[str, list[Problem]] = {}
    notes: dict[str, SampleNotes] = {}
    hashes: list[np.ndarray] = []
    owners: list[int] = []
    progress(f"verify ({level})", 0, len(checks))
    numbers = {check.path: number for number, check in enumerate(checks)}
    for check, found in run_checks(executor, checks):
        problems[check.path] = found.problems
        notes[check.path] = found.notes
        if found.keys is not None:
            hashes.append(found.keys)
            owners += [numbers[check.path]] * len(found.keys)
        progress(f"verify ({level})", len(problems), len(checks))
    for first, second in _shared_keys(hashes, owners):
        places = Path(checks[first].path).name
        problems[checks[second].path].append(
            Problem("key_twice", checks[second].path, found=f"keys that are in {places}, too")
        )
    all_notes = SampleNotes()
    for check in checks:
        all_notes.update(notes[check.path])
    return ShardlistFindings([problem for check in checks for problem in problems[check.path]], all_notes)


def _expand(pattern: str) -> list[str]:
    """Return the shards that a pattern with braces names, a pattern with * finds, or a folder holds."""
    require_local(pattern, "--shardlist")
    if Path(pattern).is_dir():
        names = sorted(str(path) for path in Path(pattern).iterdir())
        found = [name for name in names if name.endswith(".tar")] or [name for name in names if find_compression(name)]
    elif "*" in pattern:
        found = sorted(glob.glob(pattern))
    else:
        found = expand_braces(pattern)
    if not found:
        raise UsageError(f"--shardlist {pattern}: finds no tar; give braces such as shard-{{000000..000031}}.tar")
    return found


def _shared_keys(hashes: list[np.ndarray], owners: list[int]) -> list[tuple[int, int]]:
    """Return pairs (first, second) of different shards that hold an equal key."""
    if not hashes:
        return []
    keys, shards = np.concatenate(hashes), np.array(owners)
    order = np.lexsort((shards, keys))
    keys, shards = keys[order], shards[order]
    equal = (keys[1:] == keys[:-1]) & (shards[1:] != shards[:-1])
    pairs = np.unique(np.stack([shards[:-1][equal], shards[1:][equal]], axis=1), axis=0)
    return [(int(first), int(second)) for first, second in pairs]
