"""Errors of torch that are not mistakes in the program, as sentences."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from shardforge.errors import TaskError

#: What torch says when a machine's own memory is full; for a GPU's it has a class of errors.
_FULL = "can't allocate memory"
#: What gloo and NCCL say when a rank is gone.
_LOST = ("Connection closed by peer", "Connection reset by peer", "remote process exited", "Broken pipe")


@contextlib.contextmanager
def explained_errors() -> Iterator[None]:
    """Let the block say what to do where memory is too small, or another process of the run is gone.

    Raises:
        TaskError: it is so.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or _FULL in str(error):
            raise TaskError(
                "memory does not hold a step: give a smaller --batch-size, and in training more --grad-accum-steps "
                "instead"
            ) from error
        if not any(sign in str(error) for sign in _LOST):
            raise
        raise TaskError(
            "another process of this run ended, so no step can be finished; see its message, and go on with --resume"
        ) from error
