"""In which number type a step is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


class Computing(Protocol):
    """What the options say about number types."""

    @property
    def amp(self) -> bool:
        """Whether to compute in 16 bits where that is safe."""
        ...

    @property
    def amp_dtype(self) -> str:
        """Which type of 16 bits: float16 or bfloat16."""
        ...

    @property
    def fast_matmul(self) -> bool:
        """Whether to multiply matrices in TF32."""
        ...


@dataclass(frozen=True)
class Precision:
    """The type for `--amp`, None for float32 throughout, and the scaler of gradients that float16 needs."""

    device: str
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler

    def autocast(self) -> torch.autocast:
        """Return the context in which a loss is computed."""
        return torch.autocast(self.device, self.dtype, enabled=self.dtype is not None)


def choose_precision(settings: Computing, device: torch.device) -> Precision:
    """Return what `--amp` and `--amp-dtype` mean on a device: CPUs compute in bfloat16, whichever is asked for."""
    torch.set_float32_matmul_precision("high" if settings.fast_matmul or settings.amp else "highest")
    dtype = None
    if settings.amp:
        half = settings.amp_dtype == "float16" and device.type != "cpu"
        dtype = torch.float16 if half else torch.bfloat16
    return Precision(device.type, dtype, torch.amp.GradScaler(device.type, enabled=dtype is torch.float16))
