"""Tells the storage which shards come next in the order of the epochs, so that they are here when they are needed."""

from __future__ import annotations

import copy

import numpy as np

from shardforge.loader.index import ShardIndex
from shardforge.loader.schedule import Schedule

#: Steps looked at for each step that is made: several, so that the look ahead gains on it.
_STRIDE = 8


class Lookahead:
    """Looks ahead, up to an epoch, for the next shards to be used, as many as the storage wants to know of."""

    def __init__(self, schedule: Schedule, index: ShardIndex) -> None:
        self._schedule = copy.copy(schedule)  # with a place of its own in the sequence
        self._index = index
        self._storage = index.reader.storage
        self._steps = schedule.steps()
        self._next = 0
        self._waiting: dict[int, int] = {}  # shards asked for and the step that first needs them
        self._recent: dict[int, None] = {}

    def advance(self, epoch: int, step: int) -> None:
        """Ask for what follows the batch of this step, which is made next."""
        now = epoch * self._steps + step
        if not now <= self._next <= now + self._steps:
            self._next = now
            self._waiting.clear()
            self._recent.clear()
        self._waiting = {shard: first for shard, first in self._waiting.items() if first > now}
        for _ in range(_STRIDE):
            if len(self._waiting) >= self._storage.ahead or self._next >= now + self._steps:
                return
            self._look(self._next)
            self._next += 1

    def _look(self, place: int) -> None:
        samples = self._schedule.batch(*divmod(place, self._steps)).samples
        shards = np.unique(self._index.find_shards(samples)).tolist()
        new = [shard for shard in shards if shard not in self._recent]
        for shard in shards:
            self._recent.pop(shard, None)
            self._recent[shard] = None
        while len(self._recent) > max(len(shards), 4 * self._storage.ahead):
            del self._recent[next(iter(self._recent))]
        self._waiting.update(dict.fromkeys(new, place))
        self._storage.prefetch([self._index.reader.urls[shard] for shard in new])
