"""Who makes the batches: this thread, threads or processes. Batches come back in the order they were asked for."""

from __future__ import annotations

from shardforge.loader.workers.base import Batch, Workers
from shardforge.loader.workers.start import Kind, plan_workers

__all__ = ["Batch", "Kind", "Workers", "plan_workers"]
