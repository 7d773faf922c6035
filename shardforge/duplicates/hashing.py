"""Perceptual hashes: 256 bits that stay nearly the same when a picture is encoded again, resized or made brighter.

The hash is pHash as the library ImageHash computes it: the picture in 64 x 64 grey values, the signs of its 16 x 16
lowest frequencies against their median. Half of the bits are ones, so nearly all distances are even.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from shardforge import reasons
from shardforge.duplicates.extra import phash
from shardforge.errors import ImageError
from shardforge.executors import TaskResult
from shardforge.executors.items import begin_item
from shardforge.files import open_regular
from shardforge.images.convert import choose_codec, open_codec, read_bounded_header
from shardforge.images.geometry import plan_resize
from shardforge.images.header import read_file_header
from shardforge.images.pixels import turn_upright
from shardforge.records import HASH_DIGITS
from shardforge.sources.reading import file_path, read_record

_HASH_SIZE = 16
_FREQUENCIES = 4
_SIDE = _HASH_SIZE * _FREQUENCIES

_GRADIENT_STEP = 100 / 255
_GRADIENT_SCALE = 90
MAX_QUALITY = 100


class Fingerprint(NamedTuple):
    """What is known of an image's content.

    Attributes:
        content_hash: first 32 hex digits of the SHA-256 of the bytes; None when they could not be read.
        hash: the perceptual hash, 64 hex digits; None when there is none.
        quality: 0 (one colour) to 100: how much structure the hash rests on.
        reason: a code of `shardforge.reasons`, when there is no hash.
    """

    content_hash: str | None
    hash: str | None = None
    quality: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class HashTask:
    """Images below one root: a table with path, offset, bytes, mtime and reason, which are those of a record.

    Rows that have a reason already are not read. A column `content_hash` says what is known of the bytes.
    """

    root: str
    rows: pa.Table

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def part(self, first: int, end: int) -> HashTask:
        """Return the task of some of the images."""
        return HashTask(self.root, self.rows.slice(first, end - first))

    def __repr__(self) -> str:
        return f"{self.rows.num_rows} images of {self.root} from {self.rows['path'][0]}"


def hash_part(task: HashTask) -> pa.Table:
    """Return one row per image of the task, in its order: the fields of `Fingerprint`."""
    columns = [task.rows[name].to_pylist() for name in ("path", "offset", "bytes", "mtime", "reason")]
    found = []
    for number, row in enumerate(zip(*columns, strict=True)):
        begin_item(number)
        found.append(_read_fingerprint(task.root, *row))
    return fingerprint_table(found)


def take_fingerprints(result: TaskResult[HashTask, pa.Table]) -> pa.Table:
    """Return what a task came to; of the one image that makes it fail, the reason."""
    if result.failed is None:
        return result.unwrap()
    rows = result.task.rows
    known = rows["content_hash"][0].as_py() if "content_hash" in rows.column_names else None
    return fingerprint_table([Fingerprint(known, reason=reasons.explain_failure(result.failed)[0])])


def fingerprint_table(found: list[Fingerprint]) -> pa.Table:
    """Return fingerprints as a table."""
    types = {"content_hash": pa.string(), "hash": pa.string(), "quality": pa.int32(), "reason": pa.string()}
    columns = list(zip(*found, strict=True)) or [()] * len(types)
    return pa.table({name: pa.array(column, types[name]) for name, column in zip(types, columns, strict=True)})


def hash_image(data: bytes) -> tuple[str, int]:
    """Return the perceptual hash and the quality of the upright picture in an image file.

    Raises:
        ImageError: `reason` says why it cannot be decoded.
    """
    codec = open_codec(choose_codec("auto"))
    header = read_bounded_header(data)
    geometry = plan_resize((header.width, header.height), (_SIDE, _SIDE), "squash", upscale=True)
    frame = codec.decode(data, header, geometry.decoder_scale(), draft=True)
    small = turn_upright(frame.to_srgb(codec.resize(frame, geometry)), header.orientation).convert("L")
    found = phash(small, hash_size=_HASH_SIZE, highfreq_factor=_FREQUENCIES)
    return str(found), _measure_quality(small)


def _read_fingerprint(
    root: str, path: str, offset: int | None, size: int | None, mtime: int | None, reason: str | None
) -> Fingerprint:
    if reason is not None or size is None or mtime is None:
        return Fingerprint(None, reason=reason or reasons.UNREADABLE)
    content_hash = None
    try:
        if offset is None:
            _check_header(file_path(root, path, offset), size)
        data = read_record(root, path, offset, size, mtime)
        content_hash = hashlib.sha256(data).hexdigest()[:HASH_DIGITS]
        return Fingerprint(content_hash, *hash_image(data))
    except ImageError as error:
        return Fingerprint(content_hash, reason=error.reason)
    except MemoryError:
        return Fingerprint(content_hash, reason=reasons.OUT_OF_MEMORY)


def _check_header(file: bytes, size: int) -> None:
    """Refuse what is no image before all of it is read: folders of images also hold archives and tables."""
    with suppress(OSError):  # read_record says what is wrong with the file
        handle = open_regular(file)
        try:
            read_file_header(handle, size)
        finally:
            os.close(handle)


def _measure_quality(grey: Image.Image) -> int:
    """Return the sum of the steps between neighbouring pixels, scaled as in PDQ: 100 for a photo, 0 for one colour."""
    values = np.asarray(grey, np.float32) * _GRADIENT_STEP
    steps = sum(int(np.abs(np.trunc(np.diff(values, axis=axis))).sum()) for axis in (0, 1))
    return min(steps // _GRADIENT_SCALE, MAX_QUALITY)
