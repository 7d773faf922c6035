"""Executors run a function over tasks and do not know what an image is."""

from __future__ import annotations

from collections.abc import Sequence

from shardforge.errors import UsageError
from shardforge.executors.base import Executor, TaskResult

__all__ = ["Executor", "TaskResult", "open_executor"]


def open_executor(
    kind: str, workers: int, *, preload: Sequence[str] = (), address: str | None = None
) -> Executor:
    """Return the executor called `kind`, to be entered with `with`.

    `preload` names modules that workers import while the driver prepares its tasks. `workers=0` runs the tasks in this
    process (local only), for debugging. `address` is that of an existing Ray cluster.

    Raises:
        UsageError: there is no such executor, or Ray is not installed.
    """
    if kind == "local":
        from shardforge.executors.local import LocalExecutor

        return LocalExecutor(workers, preload=preload)
    if kind == "ray":
        from shardforge.executors.ray import RayExecutor

        return RayExecutor(workers, preload=preload, address=address)
    raise UsageError(f"--executor {kind}: not known; choose local or ray")
