"""A network that makes vectors of images, as the options of feature extraction name it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shardforge.train.precision import choose_precision
from shardforge.train.recipe.options import flag
from shardforge.train.use.feature_files import DTYPES, FORMATS
from shardforge.train.use.opening import open_model
from shardforge.train.use.pooling import POOLINGS, measure_width, pool_features
from shardforge.train.use.preprocessing import preprocessing_of
from shardforge.train.use.settings import Applying


@dataclass(frozen=True, kw_only=True)
class FeaturesSettings(Applying):
    """Options of `python -m shardforge.train.features`."""

    out: str = flag(..., "Folder for the features.")
    pooling: str = flag(
        "model", "Vector of an image: as the model's classifier sees it, cls, or avg.", choices=POOLINGS
    )
    dtype: str = flag("float32", "Number type of what is written.", choices=DTYPES)
    format: str = flag("parquet", "Format of what is written.", choices=FORMATS)


class Extractor:
    """Makes vectors of images."""

    def __init__(self, settings: FeaturesSettings, device: torch.device) -> None:
        self.model = open_model(settings, num_classes=0).to(device)
        self.expected = preprocessing_of(self.model)
        self.width = measure_width(self.model, self.expected.size, settings.pooling)
        self._pooling = settings.pooling
        self._colours = self.expected.colours().to(device)
        self._precision = choose_precision(settings, device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 [B, width] on the CPU for images uint8 [B, 3, H, W]."""
        with self._precision.autocast():
            found = pool_features(self.model, self._colours(images.to(self._device, non_blocking=True)), self._pooling)
        return found.float().cpu()
