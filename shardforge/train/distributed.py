"""The processes of a run, as torchrun starts them: who this one is, and what they add up to."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from shardforge.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run, and the device that it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of `values` over all ranks."""
        if self.world == 1:
            return values
        total = values.to(self.device, copy=True)
        dist.all_reduce(total)
        return total

    def stack(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what each rank gave, tensors of one shape, along a new first dimension."""
        if self.world == 1:
            return rows[None]
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts)

    def share_statistics(self, module: nn.Module) -> None:
        """Give the batch norms of all ranks the statistics of the first one, instead of those of their own batches."""
        norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._NormBase)]
        for norm in norms if self.world > 1 else ():
            for buffer in norm.buffers(recurse=False):
                dist.broadcast(buffer, 0)

    def gather(self, value: Any) -> list[Any]:
        """Return what each rank gave, in the order of ranks."""
        if self.world == 1:
            return [value]
        gathered: list[Any] = [None] * self.world
        dist.all_gather_object(gathered, value)
        return gathered

    def wait(self) -> None:
        """Return when all ranks are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, if it did, on `device`: auto, cpu or cuda.

    Raises:
        UsageError: there is no such device.
    """
    cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU here; leave the option out, or give cpu")
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(place)
    before = _explain_sigterm(world)
    if world == 1:
        try:
            yield Ranks(0, 1, place)
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)
        return
    dist.init_process_group("nccl" if cuda else "gloo", device_id=place if cuda else None)
    yield Ranks(dist.get_rank(), world, place)
    dist.destroy_process_group()  # not after an error: it would wait for ranks that are gone


def _explain_sigterm(world: int) -> Any:
    """Let SIGTERM end this process as Ctrl-C does; return what it did before, None where it is left as it is."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say what signals do
        return None
    return signal.signal(signal.SIGTERM, functools.partial(_end_run, os.getpid(), world))


def _end_run(process: int, world: int, number: int, frame: object) -> None:
    """End this process; its children, which inherit this with a fork, end as they would without.

    No Exception, which those who decode and compile would take for a failure of what they work on.
    """
    if os.getpid() != process:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    elif world == 1:
        raise KeyboardInterrupt
    else:
        raise KeyboardInterrupt(
            "SIGTERM came, which torchrun sends where another process of this run ended; go on with --resume."
        )
