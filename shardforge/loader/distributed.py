"""Which of the processes that train together this one is."""

from __future__ import annotations

import sys

from shardforge.errors import UsageError


def find_rank(rank: int | None, world: int | None) -> tuple[int, int]:
    """Return rank and number of ranks: those given, or those of torch.distributed; 0 of 1 where there is neither.

    Raises:
        UsageError: only one is given, or there is no such rank.
    """
    if (rank is None) != (world is None):
        raise UsageError("rank and world: give both, or neither to take those of torch.distributed")
    if rank is not None and world is not None:
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} of {world}: ranks count from 0")
        return rank, world
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
