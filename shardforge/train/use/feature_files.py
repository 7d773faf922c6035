"""A folder of features: `features.json`, and of each process a part with its images' vectors.

| format | a part |
|---|---|
| parquet | `part-00000.parquet`: key, sample, label, feature (a list of one length) |
| npy | `part-00000.npy` [images, width], and `part-00000.csv` with key, sample and label in the same order |

`sample` is the image's number in the data, `label` its class, empty for none. `features.json` is written last: a folder
without it is not finished. It has the bytes of each file; pages of Parquet carry checksums.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from shardforge.errors import DatasetError, UsageError
from shardforge.files import atomic_write
from shardforge.train.use.row_file import open_row_file

FORMATS = ("parquet", "npy")
DTYPES = ("float32", "float16")
ROWS = pa.schema({"key": pa.string(), "sample": pa.int64(), "label": pa.int32()})

_ABOUT = "features.json"
_VERSION = 1
_FEATURE = "feature"
_GROUP_ROWS = 8_192

Vectors = npt.NDArray[Any]
#: Takes rows as of `ROWS`, and their vectors [images, width].
Add = Callable[[pa.Table, Vectors], None]


def check_room(folder: Path) -> None:
    """Refuse a folder in which features would get mixed up with others.

    Raises:
        DatasetError: it holds features, finished or not.
    """
    if is_features(folder) or any(folder.glob("part-*")):
        raise DatasetError(f"{folder}: holds features already; delete the folder, or name another one")


def finish_features(folder: Path, about: dict[str, Any]) -> None:
    """Say what the parts hold, and that all of them are there."""
    sizes = {path.name: path.stat().st_size for name in about["parts"] for path in _files_of(folder / name)}
    with atomic_write(folder / _ABOUT) as file:
        file.write(json.dumps({"version": _VERSION, **about, "sizes": sizes}, indent=2).encode() + b"\n")


@contextmanager
def write_part(folder: Path, number: int, *, format: str, width: int, dtype: str) -> Iterator[Add]:
    """Yield a function that adds images to a part; it is there when the block ends."""
    stem = folder / f"part-{number:05d}"
    if format == "npy":
        with atomic_write(stem.with_suffix(".npy")) as file, atomic_write(stem.with_suffix(".csv")) as names:
            with pacsv.CSVWriter(names, ROWS) as table:
                writer = _NpyWriter(file, table, width, dtype)
                yield writer.add
            writer.finish()
        return
    kind = pa.list_(pa.from_numpy_dtype(dtype), width)
    schema = ROWS.append(pa.field(_FEATURE, kind))
    with open_row_file(stem.with_suffix(".parquet"), schema, group_rows=_GROUP_ROWS) as write:
        yield lambda rows, vectors: write(rows.append_column(schema.field(_FEATURE), _as_lists(vectors, dtype, width)))


def _as_lists(vectors: Vectors, dtype: str, width: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(dtype).reshape(-1)), width)


class _NpyWriter:
    """An .npy file that grows: its header, which tells the number of rows, has room for any and is written again."""

    def __init__(self, file: IO[bytes], table: pacsv.CSVWriter, width: int, dtype: str) -> None:
        self._file, self._table = file, table
        self._width, self._dtype = width, np.dtype(dtype)
        self._rows = 0
        self._write_header()

    def add(self, rows: pa.Table, vectors: Vectors) -> None:
        self._table.write(rows)
        self._file.write(np.ascontiguousarray(vectors, self._dtype).tobytes())
        self._rows += len(vectors)

    def finish(self) -> None:
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, self._width)}
        np.lib.format.write_array_header_1_0(self._file, header)


@dataclass(frozen=True)
class FeatureFolder:
    """Finished features: what `features.json` says, and the parts."""

    path: Path
    about: dict[str, Any]
    parts: tuple[Path, ...]

    @property
    def width(self) -> int:
        """How long the vectors are."""
        return int(self.about["width"])

    @property
    def maker(self) -> tuple[object, ...]:
        """What made the vectors; only those of one maker can be compared."""
        settings = self.about["settings"]
        return self.about["weights_sha256"] or settings["weights"], settings["pooling"], self.width

    @cached_property
    def rows(self) -> pa.Table:
        """Keys, sample numbers and labels of all images, in the order of `blocks`."""
        return pa.concat_tables([_read_rows(part) for part in self.parts]).combine_chunks()

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each image, -1 for none."""
        labels: npt.NDArray[np.int64] = self.rows["label"].fill_null(-1).to_numpy().astype(np.int64)
        return labels

    def blocks(self, size: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the vectors, float32 [up to `size`, width], in the order of the parts."""
        for part in self.parts:
            if part.suffix == ".npy":
                yield from _read_npy(part, size)
                continue
            with pq.ParquetFile(part, pre_buffer=False, page_checksum_verification=True) as file:  # not all in a buffer
                for batch in file.iter_batches(size, columns=[_FEATURE]):
                    values = batch.column(0).flatten().to_numpy(zero_copy_only=False)
                    yield values.reshape(len(batch), self.width).astype(np.float32)


def open_features(path: Path) -> FeatureFolder:
    """Return the features in a folder.

    Raises:
        UsageError: there are none, or not all of them.
    """
    try:
        about = json.loads((path / _ABOUT).read_bytes())
        parts = tuple(path / _require_plain(name) for name in about["parts"])
        sizes, version = dict(about.get("sizes", {})), about["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: no finished features ({_ABOUT} is not there or not readable); name a folder that "
            "shardforge.train.features wrote"
        ) from error
    if version != _VERSION:
        raise UsageError(f"{path}: features of version {version}; this program reads {_VERSION}: extract them again")
    for file in (file for part in parts for file in _files_of(part)):
        if not file.exists():
            raise UsageError(f"{file}: is missing; extract the features again")
        if file.stat().st_size != sizes.get(file.name, file.stat().st_size):
            raise UsageError(
                f"{file}: has {file.stat().st_size:,} bytes, but {sizes[file.name]} were written; extract the features "
                "again"
            )
    return FeatureFolder(path, about, parts)


def is_features(path: Path) -> bool:
    """Tell whether a path is a folder of features."""
    return (path / _ABOUT).exists()


def part_name(number: int, format: str) -> str:
    """Return the name of the file with the vectors of a part."""
    return f"part-{number:05d}.{format}"


def _files_of(part: Path) -> list[Path]:
    """Return the files of a part."""
    return [part, part.with_suffix(".csv")] if part.suffix == ".npy" else [part]


def _require_plain(name: str) -> str:
    """Return the name of a file in a folder; one that leads elsewhere is none."""
    if os.path.basename(name) != name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no name of a file here")
    return name


def _read_npy(part: Path, size: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield vectors some at a time; the file is not mapped: one that is cut meanwhile would end the process."""
    with open(part, "rb") as file:
        np.lib.format.read_magic(file)
        (rows, width), _, dtype = np.lib.format.read_array_header_1_0(file)
        for first in range(0, rows, size):
            count = min(size, rows - first)
            data = file.read(count * width * dtype.itemsize)
            if len(data) < count * width * dtype.itemsize:
                raise UsageError(f"{part}: ends too early, in row {first:,} or later; extract the features again")
            yield np.frombuffer(data, dtype).reshape(count, width).astype(np.float32)


def _read_rows(part: Path) -> pa.Table:
    if part.suffix == ".npy":
        options = pacsv.ConvertOptions(column_types=ROWS, strings_can_be_null=False)
        return pacsv.read_csv(part.with_suffix(".csv"), convert_options=options)
    return pq.read_table(part, columns=ROWS.names, page_checksum_verification=True)
