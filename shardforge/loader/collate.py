"""Makes one batch: reads its members, decodes them, lays images into one array, and deals with what is bad."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shardforge.errors import ImageError, UsageError
from shardforge.loader.buffers import ArrayLayout
from shardforge.loader.dataset import KEY, LABEL, ShardDataset, check_members, is_image, missing_member
from shardforge.loader.pixels import Normalise, Resizer, open_resizer, transform_images
from shardforge.loader.schedule import GlobalBatch
from shardforge.loader.transforms import BatchTransform

_TORCH = find_spec("torch") is not None

#: Samples that are tried for what a transform makes of an image; the first may be bad, or not be drawn at all.
_LAYOUT_SAMPLES = 100

#: Ask for whether a row of a batch is a sample of its own, and for its sample's number.
VALID, SAMPLE = "valid", "sample"


class Skipped(NamedTuple):
    """A sample that could not be used: its number, the reason code, and the sentence with shard, key and byte."""

    sample: int
    reason: str
    message: str


@dataclass
class Made:
    """A batch without its images.

    Attributes:
        columns: for each other member that was asked for, the values of the rows; images too where they have no layout.
        sources: the row whose sample each row shows: itself, or where that was bad the next good one.
        skipped: the bad samples.
    """

    columns: dict[str, list[Any]]
    sources: npt.NDArray[np.int64]
    skipped: list[Skipped] = field(default_factory=list)


class BatchMaker:
    """Makes batches of a dataset's `members`; to be shared by threads, picklable.

    With `skip`, the row of a bad sample shows the next good sample of the same batch; otherwise a bad sample raises.
    """

    def __init__(
        self, dataset: ShardDataset, members: Sequence[str], *, skip: bool, normalise: Normalise | None = None
    ) -> None:
        self._dataset = dataset
        self._skip = skip
        self._normalise = normalise
        self._image = next((name for name in members if is_image(name)), None)
        made_elsewhere = (VALID, SAMPLE, *((LABEL,) if dataset.decode else ()))
        self._names = [name for name in members if name not in made_elsewhere]
        check_members(self._names, dataset.index.extensions)
        self._resizer: Resizer | None = None
        self.layout = self._find_layout() if self._image is not None and dataset.decode else None

    @property
    def image(self) -> str | None:
        """The name of the images that go into one array, if there is one."""
        return self._image if self.layout is not None else None

    def make(self, batch: GlobalBatch, images: npt.NDArray[Any] | None) -> Made:
        """Make a batch, its images into the first rows of `images` where they have a layout.

        Raises:
            ImageError: a sample is bad and none are skipped, or all samples of the batch are.
            DatasetError: a shard cannot be read, or is no longer the one that was indexed.
        """
        columns = self._dataset.read_columns(batch.samples, self._names)
        failed: dict[int, ImageError] = {}
        for name, values in columns.items():
            if name == self._image and self._batch_transform is not None and images is not None:
                failed |= self._transform_all(self._batch_transform, values, batch, images)
            elif name != KEY and (self._dataset.decode or None in values):
                self._decode_all(name, values, batch, images if name == self._image else None, failed)
        if images is not None and self._image is not None:
            columns.pop(self._image)
        return self._replace(Made(columns, np.arange(len(batch.samples))), batch, images, failed)

    @property
    def _batch_transform(self) -> BatchTransform | None:
        transform = self._dataset.transform
        return transform if isinstance(transform, BatchTransform) else None

    def _find_layout(self) -> ArrayLayout | None:
        """Return the layout of one transformed image: that of the transform, or of what it makes of the first."""
        if self._batch_transform is not None:
            width, height = self._batch_transform.size
            return ArrayLayout((3, height, width), np.dtype(np.float32 if self._normalise else np.uint8))
        if self._dataset.transform is None or self._image is None:
            return None
        with own_randomness():
            made = self._make_first(self._image)
        if not hasattr(made, "__array__") or not hasattr(made, "dtype"):
            return None
        array = np.asarray(made)
        return ArrayLayout(array.shape, array.dtype)

    def _make_first(self, name: str) -> Any:
        """Return the transformed image of the first of some samples that has a good one.

        Raises:
            ImageError: none has; the error is that of the first.
        """
        errors = []
        for sample in range(min(len(self._dataset), _LAYOUT_SAMPLES)):
            data = self._dataset.read_columns(np.array([sample]), [name])[name][0]
            try:
                return self._dataset.decode_value(sample, name, data)
            except ImageError as error:
                errors.append(error)
        raise errors[0]

    def _transform_all(
        self, transform: BatchTransform, data: list[Any], batch: GlobalBatch, images: npt.NDArray[Any]
    ) -> dict[int, ImageError]:
        if self._resizer is None:
            self._resizer = open_resizer(transform.size, self._normalise)
        present = [part or b"" for part in data]
        failed = transform_images(present, transform, batch.draws, self._resizer, images)
        failed |= {row: missing_member() for row, part in enumerate(data) if part is None}
        return {row: self._dataset.explain(error, int(batch.samples[row]), "image") for row, error in failed.items()}

    def _decode_all(
        self,
        name: str,
        values: list[Any],
        batch: GlobalBatch,
        images: npt.NDArray[Any] | None,
        failed: dict[int, ImageError],
    ) -> None:
        """Decode the values of a member in place, or into `images`; add to `failed` what is bad."""
        seeded = name == self._image and callable(self._dataset.transform)
        with own_randomness() if seeded else nullcontext():
            for row, (sample, draw) in enumerate(zip(batch.samples.tolist(), batch.draws.tolist(), strict=True)):
                try:
                    if seeded:
                        seed_randomness(draw)
                    values[row] = self._dataset.decode_value(sample, name, values[row])
                    if images is not None:
                        self._lay_in(images, row, np.asarray(values[row]), sample)
                except ImageError as error:
                    failed.setdefault(row, error)

    def _lay_in(self, images: npt.NDArray[Any], row: int, made: npt.NDArray[Any], sample: int) -> None:
        if made.shape != images.shape[1:] or made.dtype != images.dtype:
            raise UsageError(
                f"sample {sample}: the transform made {made.dtype} of shape {made.shape}, but {images.dtype} of shape "
                f"{images.shape[1:]} of the first sample; a batch needs one shape: crop or resize to a fixed size"
            )
        images[row] = made

    def _replace(
        self, made: Made, batch: GlobalBatch, images: npt.NDArray[Any] | None, failed: dict[int, ImageError]
    ) -> Made:
        """Let the rows of bad samples show the next good one, round the end of the batch."""
        good = [row for row in range(len(batch.samples)) if row not in failed]
        for row, error in sorted(failed.items()):
            if not self._skip or not good:
                raise error
            source = next((later for later in good if later > row), good[0])
            made.sources[row] = source
            made.skipped.append(Skipped(int(batch.samples[row]), error.reason, str(error)))
            for values in made.columns.values():
                values[row] = values[source]
            if images is not None:
                images[row] = images[source]
        return made

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_resizer": None}


def seed_randomness(draw: int) -> None:
    """Seed the generators that transforms draw from: those of Python, numpy and, where it is installed, torch."""
    random.seed(draw)
    np.random.seed(draw & 0xFFFFFFFF)
    if _TORCH:
        import torch

        torch.default_generator.manual_seed(draw)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Leave this process' generators as they were before the block."""
    states = random.getstate(), np.random.get_state()
    torch = importlib.import_module("torch") if _TORCH else None
    torch_state = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        if torch:
            torch.set_rng_state(torch_state)
