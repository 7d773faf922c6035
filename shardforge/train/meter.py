"""What happened in the steps since the last look: losses, images a second, and the share of time spent on waiting."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from shardforge.errors import TaskError
from shardforge.loader.dataset import ShardDataset

Batch = TypeVar("Batch")


class Meter:
    """Losses of the batches of an epoch, and times.

    Losses stay on their device until they are looked at, so that the device is not waited for at every step.
    """

    def __init__(self, dataset: ShardDataset) -> None:
        self._dataset = dataset
        self._losses: list[tuple[Tensor, Tensor]] = []
        self.sum, self.batches = 0.0, 0
        self._start_window()

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, counting the time that each is waited for."""
        self._start_window()  # what has passed since the last epoch was evaluation and writing
        iterator = iter(batches)
        while True:
            begin = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waited += time.perf_counter() - begin
            yield batch

    def add(self, loss: Tensor, samples: Tensor, images: int) -> None:
        """Note the loss of a batch, which samples were in it, and how many images all ranks had."""
        self._losses.append((loss, samples))
        self._images += images

    def look(self) -> dict[str, float]:
        """Return mean loss, images a second and share of waiting since the last look.

        Raises:
            TaskError: a loss is not a number.
        """
        seconds = max(1e-9, time.perf_counter() - self._started)
        losses = self._take_losses()
        found = {"loss": sum(losses) / max(1, len(losses))}
        found |= {"images_per_second": self._images / seconds, "data_wait": self._waited / seconds}
        self._start_window()
        return found

    def mean(self) -> float:
        """Return the mean loss of the epoch's batches so far, of this rank."""
        self._take_losses()
        return self.sum / max(1, self.batches)

    def state_dict(self) -> dict[str, float]:
        """Return what an epoch that is gone on with needs."""
        self._take_losses()
        return {"sum": self.sum, "batches": self.batches}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from what `state_dict` gave."""
        self.sum, self.batches = state["sum"], int(state["batches"])

    def _start_window(self) -> None:
        self._started = time.perf_counter()
        self._waited, self._images = 0.0, 0

    def _take_losses(self) -> list[float]:
        if not self._losses:
            return []
        values: list[float] = torch.stack([loss for loss, _ in self._losses]).double().tolist()
        for value, (_, samples) in zip(values, self._losses, strict=True):
            if value != value or abs(value) == float("inf"):
                raise TaskError(self._explain(value, samples))
        self._losses.clear()
        self.sum += sum(values)
        self.batches += len(values)
        return values

    def _explain(self, loss: float, samples: Tensor) -> str:
        keys = [self._dataset.index.key(sample) for sample in dict.fromkeys(samples.tolist())]
        return (
            f"the loss is {loss} for the batch of these samples: {' '.join(keys)}; look at them, lower --lr, clip "
            "gradients with --clip-grad-norm, or compute in another type (--amp-dtype bfloat16)"
        )
