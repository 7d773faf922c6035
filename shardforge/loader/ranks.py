"""Labels of another rank: a table that gives, for each class of a dataset, its name in the rank.

Where species were packed, genus or family can be trained on without writing shards again, as the class decides them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shardforge.errors import UsageError
from shardforge.loader.selection import Int32Array, read_table
from shardforge.taxonomy.placeholders import is_no_name


def map_labels(labels: Int32Array, names: Sequence[str]) -> tuple[Int32Array, tuple[str, ...]]:
    """Return the labels under `names`, which holds a name for each old class, and the new classes, sorted.

    The label of a class without a name is -1.

    Raises:
        UsageError: a label is beyond the table.
    """
    if len(labels) and labels.max() >= len(names):
        raise UsageError(f"label {labels.max()}: the table of ranks has only {len(names)} classes; give a whole one")
    classes = tuple(sorted(set(names) - {""}))
    numbers = {name: number for number, name in enumerate(classes)} | {"": -1}
    # One more at the end, for label -1 to find.
    new = np.array([*(numbers[name] for name in names), -1], np.int32)
    return new[labels], classes


def read_rank_table(path: Path, rank: str, classes: Sequence[str]) -> list[str]:
    """Return the name in column `rank` for each of `classes`, from a CSV file that has their names in column `class`.

    Raises:
        UsageError: a column or a class is not there, or a class stands there with two names.
    """
    names: dict[str, str] = {}
    for row in read_table(path, ("class", rank)):
        if names.setdefault(row["class"], row[rank]) != row[rank]:
            raise UsageError(f"{path}: class {row['class']} has two values of {rank}; give it one")
    if missing := [name for name in classes if name not in names]:
        raise UsageError(f"{path}: has no row for {len(missing):,} classes, {missing[0]} the first; add them")
    return [names[name] for name in classes]


def find_ranks(labels: Int32Array, rank: str, read_json: Callable[[int], Any]) -> list[str]:
    """Return the name in `rank` for each class, from the `.json` member of the first and last sample of the class.

    `read_json` returns that member of a sample. Two samples a class tell whether the class decides the rank at all.

    Raises:
        UsageError: no sample has the rank, or two samples of a class differ in it.
    """
    names: list[str] = []
    for label, (first, last) in enumerate(_find_ends(labels)):
        found = {_read_rank(read_json(sample), rank) for sample in (first, last) if sample >= 0}
        if len(found) > 1:
            raise UsageError(
                f"class {label}: its samples differ in {rank} ({', '.join(sorted(found))}), so the class does not "
                "decide it; write shards with the labels of this rank"
            )
        names.append(found.pop() if found else "")
    if not any(names):
        raise UsageError(f"no sample's .json has a {rank}; give a table of classes with this column")
    return names


def _read_rank(content: Any, rank: str) -> str:
    """Return the name in the rank that a sample's `.json` has, nothing where it is no object or names nothing."""
    name = str(content.get(rank) or "") if isinstance(content, dict) else ""
    return "" if is_no_name(name, species=rank == "species") else name


def _find_ends(labels: Int32Array) -> np.ndarray:
    """Return the first and the last sample of each class, -1 for classes without samples; shape [classes, 2]."""
    ends = np.full((int(labels.max(initial=-1)) + 1, 2), -1, np.int64)
    labelled = np.flatnonzero(labels >= 0)
    ends[labels[labelled[::-1]], 0] = labelled[::-1]
    ends[labels[labelled], 1] = labelled
    return ends
