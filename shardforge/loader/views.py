"""Parts of a dataset that look like sequences: a slice of its samples, and the samples' keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from shardforge.loader.index import ShardIndex


class Samples(Sequence[Any]):
    """A view of those samples of a dataset that have these numbers; `read` reads one."""

    def __init__(self, read: Callable[[int], Any], numbers: range) -> None:
        self._read = read
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Samples(self._read, self._numbers[place])
        return self._read(self._numbers[place])


class Keys(Sequence[str]):
    """The keys of a dataset's samples."""

    def __init__(self, index: ShardIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return self._index.samples

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self._index.key(sample) for sample in range(len(self))[place]]
        return self._index.key(range(len(self))[place])

    def __iter__(self) -> Iterator[str]:
        return map(self._index.key, range(len(self)))

    def __contains__(self, key: object) -> bool:
        try:
            return isinstance(key, str) and self._index.find(key) >= 0
        except KeyError:
            return False
