"""What was trained, put to use: models by name, their answers, features, and search by example."""

from __future__ import annotations

from shardforge.train.use.inference import inference_model
from shardforge.train.use.models import get_model, list_models

__all__ = ["get_model", "inference_model", "list_models"]
