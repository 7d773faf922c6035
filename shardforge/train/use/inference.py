"""What a model says about images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.train.use.models import get_model
from shardforge.train.use.pixels import Picture, read_pictures
from shardforge.train.use.preprocessing import Preprocessing, preprocessing_of

#: One class: its number, its name (the number as text where none is known), and its probability.
Answer = TypedDict("Answer", {"label": int, "class": str, "score": float})


class Prediction(Answer):
    """The most likely class of an image, and the next ones; `image` is its path, or its number where it has none."""

    image: str
    top: list[Answer]


@torch.inference_mode()
def inference_model(
    model: nn.Module | str | Path, images: Picture | Iterable[Picture] = (), *, top_k: int = 5, batch_size: int = 32
) -> list[Prediction]:
    """Return what a model says about images, on the device that it is on.

    Args:
        model: of `get_model`, or what `get_model` takes.
        images: a path, a folder (all images below it), bytes of an image file, a PIL image, an array [H, W, 3] of
            uint8 or of floats from 0 to 1 (also [H, W] for grey, [H, W, 4] with alpha), or several of them, also as an
            array [N, H, W, 3].
        top_k: how many classes to tell for each image.
        batch_size: images that are computed at once.

    Raises:
        UsageError: a path is not there, an argument is of another kind, or the model has no classifier.
        ImageError: an image cannot be read.
    """
    for name, number in (("top_k", top_k), ("batch_size", batch_size)):
        if not isinstance(number, int) or number < 1:
            raise UsageError(f"{name}: expected a whole number from 1, and not {number!r}")
    if not isinstance(model, nn.Module):
        model = get_model(model)
    expected = preprocessing_of(model)
    check_classifier(model, "the model")
    device = next(model.parameters()).device
    colours = expected.colours().to(device)
    training = model.training
    model.eval()
    found: list[Prediction] = []
    try:
        for batch in read_pictures(images, expected.transform(), batch_size):
            scores = _scores(model(colours(batch.images.to(device))))
            for name, row in zip(batch.names, scores, strict=True):
                top = _rank(row, expected, top_k)
                found.append({**top[0], "image": name, "top": top})
    finally:
        model.train(training)
    return found


def _scores(logits: Tensor) -> Tensor:
    """Return probabilities [B, classes]."""
    return logits.float().softmax(1).cpu()


def _rank(scores: Tensor, expected: Preprocessing, top_k: int) -> list[Answer]:
    best = scores.topk(min(top_k, len(scores)))
    return [
        {"label": label, "class": expected.class_name(label), "score": score}
        for score, label in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def check_classifier(model: nn.Module, name: str | Path) -> int:
    """Return the number of classes that a model answers with.

    Raises:
        UsageError: it is an encoder without classifier.
    """
    outputs = int(getattr(model, "num_classes", 0))
    if not outputs:
        raise UsageError(
            f"{name}: has no classifier (weights of pre-training?); fine-tune it first, or extract its features"
        )
    return outputs
