"""In which number type a step is computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from shardforge.train.recipe.settings import Running


@dataclass(frozen=True)
class Precision:
    """The type for `--amp`, None for float32 throughout, and the scaler of gradients that float16 needs."""

    device: str
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler

    def autocast(self) -> torch.autocast:
        """Return the context in which a loss is computed."""
        return torch.autocast(self.device, self.dtype, enabled=self.dtype is not None)


def choose_precision(settings: Running, device: torch.device) -> Precision:
    """Return what `--amp` and `--amp-dtype` mean on a device: CPUs compute in bfloat16, whichever is asked for."""
    torch.set_float32_matmul_precision("high" if settings.fast_matmul or settings.amp else "highest")
    dtype = None
    if settings.amp:
        half = settings.amp_dtype == "float16" and device.type != "cpu"
        dtype = torch.float16 if half else torch.bfloat16
    return Precision(device.type, dtype, torch.amp.GradScaler(device.type, enabled=dtype is torch.float16))
