"""Executors run a function over tasks and do not know what an image is."""

from __future__ import annotations

import os
from collections.abc import Sequence

from shardforge.errors import UsageError
from shardforge.executors.base import Executor, TaskResult

__all__ = ["Executor", "TaskResult", "count_cores", "open_executor"]


def open_executor(
    kind: str, workers: int | None, *, preload: Sequence[str] = (), address: str | None = None
) -> Executor:
    """Return the executor called `kind`, to be entered with `with`.

    `workers=None` takes one for each core: of an existing Ray cluster, else of this machine as far as this process may
    use it. `workers=0` runs the tasks in this process (local only), for debugging. `preload` names modules that workers
    import while the driver prepares its tasks. `address` is that of an existing Ray cluster.

    Raises:
        UsageError: there is no such executor, Ray is not installed, or the executor takes no address.
    """
    if kind == "local" and address is not None:
        raise UsageError(f"--ray-address {address}: goes with --executor ray; give both, or leave the address out")
    if workers is None and address is None:
        workers = count_cores()
    if kind == "local":
        from shardforge.executors.local import LocalExecutor

        return LocalExecutor(workers or 0, preload=preload)
    if kind == "ray":
        from shardforge.executors.ray import RayExecutor

        return RayExecutor(workers, preload=preload, address=address)
    raise UsageError(f"--executor {kind}: not known; choose local or ray")


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
