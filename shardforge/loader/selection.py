"""Which samples are read and what their labels are, decided by files beside the shards, which stay as they are."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shardforge.errors import SourceError, UsageError, shorten
from shardforge.loader.randomness import Int64Array
from shardforge.tables.formats import HEAD_BYTES, LINES, refuse_other_formats
from shardforge.tables.rows import read_rows

Int32Array = npt.NDArray[np.int32]

#: More than labels can be, where no class file says how many there are.
_MOST_CLASSES = 1 << 31


class KeyIndex(Protocol):
    """What a selection asks of an index."""

    @property
    def samples(self) -> int:
        """The number of samples."""
        ...

    def find_all(self, keys: Iterable[str]) -> Int64Array:
        """Return the sample of each key, -1 for keys that are not there."""
        ...


@dataclass(frozen=True)
class Selection:
    """The samples to read, ascending, and the label of every sample, -1 for none.

    `unmatched` counts, for each file, the entries that name no sample: lists made for a whole collection name samples
    of other splits, too.
    """

    kept: Int64Array
    labels: Int32Array
    unmatched: dict[Path, int]

    def labels_of_kept(self) -> Int32Array:
        """Return the label of every sample, -1 for those that are not kept: what `ClassSampler` takes."""
        labels = np.full_like(self.labels, -1)
        labels[self.kept] = self.labels[self.kept]
        return labels


def select_samples(
    index: KeyIndex,
    labels: Int32Array,
    *,
    subset: Path | None = None,
    exclude: Sequence[Path] = (),
    relabel: Path | None = None,
    classes: Sequence[str] | None = None,
) -> Selection:
    """Return the samples of `subset` (default: all) without those of `exclude`, with the labels that `relabel` gives.

    Lists hold a key a line, keys in a CSV column `key`, or, as .npy, sample numbers or a mask. `relabel` is a CSV file
    with columns key and label: a number, a name of `classes`, or nothing to drop the sample.

    Raises:
        UsageError: a file cannot be read as that, a subset names samples that are not there, or nothing is left.
    """
    chosen = np.ones(index.samples, bool)
    labels = np.array(labels)
    unmatched: dict[Path, int] = {}
    if subset is not None:
        samples = _read_samples(subset, index)
        _check_subset(samples, subset)
        chosen = np.zeros(index.samples, bool)
        chosen[samples] = True
    for path in exclude:
        samples = _read_samples(path, index)
        chosen[samples[samples >= 0]] = False
        unmatched[path] = int((samples < 0).sum())
    if relabel is not None:
        samples, given = _read_labels(relabel, index, classes)
        unmatched[relabel] = int((samples < 0).sum())
        labels[samples[samples >= 0]] = given[samples >= 0]
        chosen[samples[(samples >= 0) & (given < 0)]] = False
    if not chosen.any():
        raise UsageError("subset, exclusions and labels leave no sample to read; check these files")
    return Selection(np.flatnonzero(chosen), labels, unmatched)


def drop_unlabelled(selection: Selection) -> Selection:
    """Return the selection without the samples that have no label."""
    return replace(selection, kept=selection.kept[selection.labels[selection.kept] >= 0])


def _check_subset(samples: Int64Array, path: Path) -> None:
    if missing := int((samples < 0).sum()):
        raise UsageError(
            f"{path}: {missing:,} of {len(samples):,} entries name no sample, the first of them entry "
            f"{int(np.argmax(samples < 0)) + 1}; make the subset from the keys of this split"
        )


def _read_samples(path: Path, index: KeyIndex) -> Int64Array:
    """Return the sample of each entry of a list, -1 where there is none."""
    if path.suffix == ".npy":
        return _read_numbers(path, index.samples)
    if path.suffix == ".csv":
        return index.find_all([row["key"] for row in read_table(path, ("key",))])
    with _reading(path):
        with open(path, "rb") as head:
            refuse_other_formats(path, head.read(HEAD_BYTES), LINES)
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    return index.find_all([line for line in lines if line and not line.startswith("#")])


def _read_numbers(path: Path, samples: int) -> Int64Array:
    with _reading(path):
        array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path}: holds several arrays; save one by numpy.save")
    if array.dtype == bool and array.shape == (samples,):
        return np.flatnonzero(array)
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array >= samples).any() or (array < 0).any():
        raise UsageError(
            f"{path}: expected sample numbers from 0 to {samples - 1}, or a mask of {samples} truth values; found "
            f"{array.dtype} of shape {array.shape}"
        )
    numbers: Int64Array = array.astype(np.int64)
    return numbers


def _read_labels(path: Path, index: KeyIndex, classes: Sequence[str] | None) -> tuple[Int64Array, Int32Array]:
    """Return the sample, -1 where there is none, and the label, -1 to drop it, of each row of a label table."""
    rows = read_table(path, ("key", "label"))
    numbers = {name: number for number, name in enumerate(classes or ())}
    labels = [_parse_label(row["label"], numbers, path) for row in rows]
    return index.find_all([row["key"] for row in rows]), np.array(labels, np.int32)


def _parse_label(text: str, numbers: dict[str, int], path: Path) -> int:
    if not text:
        return -1
    if text in numbers:
        return numbers[text]
    if not text.isdecimal() or int(text) >= (len(numbers) or _MOST_CLASSES):
        raise UsageError(f"{path}: label '{shorten(text)}' is neither a class nor the number of one; mend this row")
    return int(text)


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file that must have these columns; what a short row lacks is empty.

    Raises:
        UsageError: it cannot be read, or lacks a column.
    """
    with _reading(path):
        names, rows = read_rows(path, ".csv")
    if missing := [column for column in columns if column not in names]:
        raise UsageError(f"{path}: has no column {', '.join(missing)}; its first line must name the columns")
    blank = dict.fromkeys(names, "")
    return [blank | dict(zip(names, cells, strict=False)) for _, cells in rows]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except SourceError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name an existing file") from error
    except (ValueError, EOFError, csv.Error) as error:
        raise UsageError(
            f"{path}: not {path.suffix.lstrip('.') or 'text'} in UTF-8 ({error}); mend the file"
        ) from error
