"""When a run with bad images goes on, and when it stops."""

from __future__ import annotations

from dataclasses import dataclass

#: Fewer bad images than this never exceed a share.
_TOLERATED = 10


@dataclass(frozen=True)
class Budget:
    """How many images may turn out bad before a run stops: a share of the plan, or a number."""

    share: float | None = 0.01
    count: int | None = None

    def limit(self, planned: int) -> int:
        """Return the number of bad images that a plan of `planned` records may have."""
        if self.count is not None:
            return self.count
        return max(_TOLERATED - 1, int((self.share or 0.0) * planned))
