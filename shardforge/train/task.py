"""What pre-training and fine-tuning have of their own; all else is the loop's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from shardforge.loader.loader import ShardLoader


class Task(Protocol):
    """A model, its data, and what is done with them."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        ...

    @property
    def layered(self) -> nn.Module:
        """The timm model in it, which layer decay goes through and whose weights are exported."""
        ...

    @property
    def loader(self) -> ShardLoader:
        """Training batches: images uint8 [B, 3, H, W], labels where there are any, and sample numbers last."""
        ...

    @property
    def averages(self) -> bool:
        """Whether an average of the weights is kept."""
        ...

    @property
    def follows(self) -> tuple[str, bool]:
        """The figure that tells the best checkpoint, and whether more of it is better."""
        ...

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the loss of a batch, by `model`: the task's own, wrapped for compilation and many ranks."""
        ...

    def begin_epoch(self, epoch: int, step: int) -> None:
        """Prepare for an epoch, or the rest of it after `step` batches; `model.train()` has been called."""
        ...

    def evaluate(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Return figures of the model after so many epochs; called on all ranks."""
        ...

    def picture(self, model: nn.Module, folder: Path, epoch: int) -> None:
        """Draw what there is to see after an epoch; called on the first rank."""
        ...

    def export(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the weights that timm loads: of the encoder, or of the whole classifier."""
        ...

    def about(self) -> dict[str, Any]:
        """Return what a file of weights says about itself, as JSON."""
        ...
