"""What a classifier made of each class, as CSV files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from shardforge.files import atomic_write

#: (class, answer, images), both classes as numbers.
Confusion = tuple[int, int, int]


def write_confusions(path: Path, classes: Sequence[str], confusions: Iterable[Confusion]) -> None:
    """Write class, answer and the number of images, of the pairs that occur."""
    rows = [(classes[label], classes[answer], images) for label, answer, images in confusions]
    _write(path, rows, {"class": pa.string(), "answer": pa.string(), "images": pa.int64()})


def write_class_table(path: Path, classes: Sequence[str], confusions: Sequence[Confusion]) -> None:
    """Write for each class that has images or answers: both numbers, how many were right, the shares, and F1.

    `mistaken_for` is the class that most of the wrong answers gave. Precision is empty where nothing was answered so,
    recall where there were no images.
    """
    images, answers, right = Counter[int](), Counter[int](), Counter[int]()
    wrong: dict[int, tuple[int, int]] = {}
    for label, answer, count in confusions:
        images[label] += count
        answers[answer] += count
        if label == answer:
            right[label] += count
        else:
            wrong[label] = max(wrong.get(label, (0, 0)), (count, answer))
    rows = [
        (
            *(classes[label], images[label], answers[label], right[label]),
            _share(right[label], images[label]),
            _share(right[label], answers[label]),
            2 * right[label] / (images[label] + answers[label]),
            classes[wrong[label][1]] if label in wrong else None,
        )
        for label in sorted(images | answers)
    ]
    numbers = {name: pa.int64() for name in ("images", "answers", "right")}
    shares = {name: pa.float64() for name in ("recall", "precision", "f1")}
    _write(path, rows, {"class": pa.string(), **numbers, **shares, "mistaken_for": pa.string()})


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _write(path: Path, rows: Sequence[tuple[object, ...]], columns: dict[str, pa.DataType]) -> None:
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    arrays = [pa.array(column, kind) for column, kind in zip(values, columns.values(), strict=True)]
    with atomic_write(path) as file:
        pacsv.write_csv(pa.table(arrays, names=list(columns)), file, pacsv.WriteOptions(quoting_style="needed"))
