"""Fetches shards in the background, a few at a time."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable

from shardforge.errors import ShardforgeError

_THREADS = 4


class Prefetcher:
    """Calls `fetch` for each URL in turn, in threads that end with the work and do not hold up the program's end.

    An error ends that one fetch: who needs the shard meets it again.
    """

    def __init__(self, fetch: Callable[[str], None]) -> None:
        self._fetch = fetch
        self._queue: deque[str] = deque()
        self._running = 0
        self._lock = threading.Lock()

    def submit(self, urls: Iterable[str]) -> None:
        """Add to the work, after what is there."""
        with self._lock:
            self._queue.extend(urls)
            for _ in range(min(_THREADS - self._running, len(self._queue))):
                self._running += 1
                threading.Thread(target=self._work, name="shardforge-prefetch", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._running -= 1
                    return
                url = self._queue.popleft()
            with contextlib.suppress(ShardforgeError):
                self._fetch(url)
