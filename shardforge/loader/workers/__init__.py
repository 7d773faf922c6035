"""Who makes the batches: this thread, threads or processes. Batches come back in the order they were asked for."""

from __future__ import annotations

from shardforge.loader.workers.base import Batch, Workers
from shardforge.loader.workers.processes import ProcessWorkers
from shardforge.loader.workers.threads import InlineWorkers, ThreadWorkers

__all__ = ["Batch", "InlineWorkers", "ProcessWorkers", "ThreadWorkers", "Workers"]
