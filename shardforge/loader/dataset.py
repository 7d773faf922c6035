"""A map-style dataset over plain tar shards: `dataset[i]`, slices, keys, and labels without opening a shard."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shardforge import reasons
from shardforge.errors import ImageError, UsageError
from shardforge.loader.decode import decode_member
from shardforge.loader.index import open_index
from shardforge.loader.inputs import open_inputs
from shardforge.loader.members import IMAGE, locate_members, read_members
from shardforge.loader.network import hide_credentials
from shardforge.loader.shards import Place, ShardSet
from shardforge.loader.storage import RemoteOptions
from shardforge.loader.transforms import BatchTransform
from shardforge.loader.views import Keys, Samples
from shardforge.progress import Progress
from shardforge.samples import IMAGE_EXTENSIONS, is_image_extension

#: Asks for a sample's key, as webdataset spells it.
KEY = "__key__"
#: Asks for a sample's class.
LABEL = "cls"

Transform = BatchTransform | Callable[[Any], Any]


class ShardDataset:
    """The samples of shards, in the order in which they lie there.

    A sample is a dict of its members by extension and its `__key__`, as webdataset gives it; with `members` it is a
    tuple: each of them an extension, "image" (whatever its format) or "__key__". An image is a PIL image, upright and
    in RGB, .cls an int, .json what it holds, .txt a str; with `decode=False` all are bytes.

    `transform` is applied to the image. One of `shardforge.loader.transforms` works on whole batches in a `ShardLoader`
    and makes uint8 arrays of shape [3, height, width]; any other callable gets the PIL image.

    `inputs` is what `open_inputs` reads, or sets of shards that were opened before; shards behind URLs are read as
    `remote` says: without it, whole and through the user's cache. A manifest may name files below its own folder, or
    with `trust` anywhere. A `torch.utils.data.DataLoader`
    takes the dataset as it is. Picklable, safe after fork and spawn; torch itself is not needed.

    Attributes:
        index: where the members lie; made, with a progress bar, where it is missing.
        classes: the names of the labels, None where unknown.
        lengths: samples of each shard, for each set of shards.
        sizes: samples of each set.
    """

    def __init__(
        self,
        inputs: Place | Sequence[Place] | Sequence[ShardSet],
        *,
        split: str | None = None,
        members: Sequence[str] | None = None,
        transform: Transform | None = None,
        decode: bool = True,
        remote: RemoteOptions | None = None,
        check_sha256: bool = False,
        trust: bool = False,
    ) -> None:
        sets = _open_sets(inputs, split, trust)
        with Progress() as progress:
            self.index = open_index(sets, remote=remote, progress=progress, check_sha256=check_sha256)
        self.classes = sets[0].classes
        ends = np.cumsum([len(part.shards) for part in sets])
        self.lengths = np.split(self.index.lengths, ends[:-1])
        self.sizes = [int(part.sum()) for part in self.lengths]
        self._labels: npt.NDArray[np.int32] | None = None
        self.members = None if members is None else tuple(members)
        self.transform = transform
        self.decode = decode
        check_members(self.members or (), self.index.extensions)

    def __len__(self) -> int:
        return self.index.samples

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """The class of each sample, -1 for none; set it to give samples other labels than the shards do."""
        return self.index.labels if self._labels is None else self._labels

    @labels.setter
    def labels(self, labels: npt.NDArray[np.int32]) -> None:
        if len(labels) != len(self):
            raise UsageError(f"{len(labels):,} labels for {len(self):,} samples; give one for each")
        self._labels = labels

    def labels_of(self, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Return the class of each of these samples, -1 for none, without reading all labels."""
        return self.index.labels_of(samples) if self._labels is None else self._labels[samples]

    @property
    def keys(self) -> Keys:
        """The samples' keys, read from the shards as they are asked for."""
        return Keys(self.index)

    def find(self, key: str) -> int:
        """Return the number of the sample with this key.

        Raises:
            KeyError: there is none.
        """
        return self.index.find(key)

    def __getitem__(self, sample: int | slice) -> Any:
        """Return a sample, or a view of several.

        Raises:
            ImageError: a member is missing or cannot be decoded; the message names shard, key and byte.
        """
        if isinstance(sample, slice):
            return Samples(self.__getitem__, range(len(self))[sample])
        number = operator.index(sample)
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number}: there are {len(self):,}")
        number %= len(self)
        names = self.members or (KEY, *self.index.extensions)
        columns = self.read_columns(np.array([number]), names)
        values = {name: column[0] for name, column in columns.items() if self.members or column[0] is not None}
        decoded = {name: self.decode_value(number, name, data) for name, data in values.items()}
        return decoded if self.members is None else tuple(decoded.values())

    def read_columns(self, samples: npt.NDArray[np.int64], names: Sequence[str]) -> dict[str, list[Any]]:
        """Return for each name the samples' members as bytes, None where a sample lacks it, or their keys.

        Raises:
            DatasetError: a shard cannot be read, or is no longer the one that was indexed.
        """
        wanted = [name for name in names if name != KEY]
        columns: dict[str, list[Any]] = dict(zip(wanted, read_members(self.index, samples, wanted), strict=True))
        if KEY in names:
            columns[KEY] = [self.index.key(sample) for sample in samples.tolist()]
        return {name: columns[name] for name in names}

    def decode_value(self, sample: int, name: str, data: Any) -> Any:
        """Return the value of a member of a sample from its bytes, the image transformed.

        Raises:
            ImageError: it is missing or cannot be decoded; the message names shard, key and byte.
        """
        if name == KEY:
            return data
        try:
            if data is None:
                raise missing_member()
            if not self.decode:
                return data
            if name == LABEL and (label := int(self.labels_of(np.array([sample]))[0])) >= 0:
                return label
            if not is_image(name):
                return decode_member(name, data)
            if isinstance(self.transform, BatchTransform):
                return self._transform_alone(self.transform, data)
            image = decode_member(IMAGE_EXTENSIONS[0], data)
            return image if self.transform is None else self.transform(image)
        except ImageError as error:
            raise self.explain(error, sample, name) from error

    def explain(self, error: ImageError, sample: int, name: str) -> ImageError:
        """Return the error with the place of the member that it is about."""
        numbers = np.array([sample])
        shard = self.index.reader.urls[int(self.index.find_shards(numbers)[0])]
        offset = int(locate_members(self.index, numbers, name)[0][0])
        where = f"sample {self.index.key(sample)}, {name} at byte {offset:,}"
        return ImageError(f"{hide_credentials(shard)}: {where}: {error}", reason=error.reason)

    def _transform_alone(self, transform: BatchTransform, data: bytes) -> npt.NDArray[np.uint8]:
        from shardforge.loader.pixels import open_resizer, transform_images

        width, height = transform.size
        pixels = np.empty((1, 3, height, width), np.uint8)
        draw = np.array([random.getrandbits(64)], np.uint64)
        for error in transform_images([data], transform, draw, open_resizer(transform.size), pixels).values():
            raise error
        image: npt.NDArray[np.uint8] = pixels[0]
        return image


def _open_sets(
    inputs: Place | Sequence[Place] | Sequence[ShardSet], split: str | None, trust: bool
) -> Sequence[ShardSet]:
    if isinstance(inputs, (str, Path)):
        return (open_inputs(inputs, split=split, trust=trust),)
    sets = [part for part in inputs if isinstance(part, ShardSet)]
    if not sets:
        return (open_inputs([part for part in inputs if not isinstance(part, ShardSet)], split=split),)
    if split is not None or len(sets) != len(inputs):
        raise UsageError("sets of shards are opened with their split already; give sets alone, and no split")
    return sets


def check_members(members: Sequence[str], extensions: Sequence[str]) -> None:
    """Refuse members that no sample has."""
    image = (IMAGE,) if any(map(is_image, extensions)) else ()
    known = (*extensions, *image, KEY)
    for name in members:
        if name not in known:
            raise UsageError(f"member {name!r}: no sample has it; choose of {', '.join(known)}")


def missing_member() -> ImageError:
    """Return the error of a sample that lacks what was asked for."""
    return ImageError("there is no such member", reason=reasons.CORRUPT)


def is_image(name: str) -> bool:
    """Tell whether a member is an image."""
    return name == IMAGE or is_image_extension(name)
