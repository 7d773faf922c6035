"""Memory for batches that is used again once nobody refers to the batch any more.

Fresh memory for every batch would cost a page fault for each 4 KiB of it, as much as a third of a decode.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from collections import deque
from multiprocessing import reduction
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

Some = TypeVar("Some")


class ArrayLayout(NamedTuple):
    """Shape and type of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def view_array(memory: mmap.mmap, offset: int, layout: ArrayLayout) -> npt.NDArray[Any]:
    """Return an array in `memory`."""
    return np.frombuffer(memory, layout.dtype, math.prod(layout.shape), offset).reshape(layout.shape)


class Loans(Generic[Some]):
    """What is lent with arrays, and given back when they are gone.

    Nothing in Python runs when an array ends: Ctrl-C that came just then would be lost there.
    """

    def __init__(self) -> None:
        self._open: dict[int, _Loan] = {}
        self._ended: deque[_Loan] = deque()

    def lend(self, what: Some, memory: mmap.mmap, offset: int, layout: ArrayLayout) -> npt.NDArray[Any]:
        """Return an array in `memory`; `what` is lent until it, and every view and tensor of it, is gone."""
        array = np.frombuffer(memory, layout.dtype, math.prod(layout.shape), offset)
        # Views of an array whose memory is not another array's refer to that array, so its end is the end of them all.
        loan = _Loan(array, self._ended.append)
        loan.what = what
        self._open[id(loan)] = loan
        return array.reshape(layout.shape)

    def give_back(self) -> Some | None:
        """Return one that is no longer lent, None if there is none."""
        try:
            loan = self._ended.popleft()
        except IndexError:
            return None
        what: Some = self._open.pop(id(loan)).what
        return what


class _Loan(weakref.ref[npt.NDArray[Any]]):
    """An array that something was lent with."""

    __slots__ = ("what",)

    what: Any


class BufferPool:
    """Hands out arrays of one layout in this process."""

    def __init__(self, layout: ArrayLayout) -> None:
        self._layout = layout
        self._loans: Loans[mmap.mmap] = Loans()

    def take(self) -> npt.NDArray[Any]:
        """Return an array with arbitrary content."""
        memory = self._loans.give_back() or mmap.mmap(-1, max(1, self._layout.size))
        return self._loans.lend(memory, memory, 0, self._layout)


class PinnedPool:
    """Arrays in page-locked memory; torch keeps it for later batches once copies to the device are through."""

    def __init__(self, layout: ArrayLayout) -> None:
        self._layout = layout

    def take(self) -> npt.NDArray[Any]:
        """Return an array with arbitrary content."""
        import torch

        dtype = torch.from_numpy(np.empty(0, self._layout.dtype)).dtype
        array: npt.NDArray[Any] = torch.empty(self._layout.shape, dtype=dtype, pin_memory=True).numpy()
        return array


class SharedMemory:
    """Memory that worker processes share; it has no name, so it goes when the last of them ends, however they end.

    Inherited by forked workers, and picklable while a worker is being spawned.
    """

    def __init__(self, size: int) -> None:
        handle = _open_nameless()
        os.ftruncate(handle, size)
        self._map(handle, size)

    def _map(self, handle: int, size: int) -> None:
        self._handle = handle
        self._size = size
        self.memory = mmap.mmap(handle, size)
        weakref.finalize(self, os.close, handle)

    def __getstate__(self) -> tuple[Any, int]:
        return reduction.DupFd(self._handle), self._size

    def __setstate__(self, state: tuple[Any, int]) -> None:
        self._map(state[0].detach(), state[1])


def _open_nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("shardforge-batches", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # unlinked already
        return os.dup(file.fileno())
