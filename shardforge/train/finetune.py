"""`python -m shardforge.train.finetune`: training a classifier, from pre-trained weights or from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.loader.dataset import ShardDataset
from shardforge.train.data.augment import Colours, training_transform
from shardforge.train.data.mixing import Mixer
from shardforge.train.data.open import evaluation_loader, open_dataset, open_validation, training_loader
from shardforge.train.distributed import Ranks
from shardforge.train.encoders import DERIVED, export_encoder, resolve_encoder
from shardforge.train.encoders.features import before_classifier
from shardforge.train.handover import find_weights
from shardforge.train.log import RunLog
from shardforge.train.neighbours import open_neighbours
from shardforge.train.precision import choose_precision
from shardforge.train.probe import find_body, fold_norms, freeze_body, train_head
from shardforge.train.recipe.options import make_command
from shardforge.train.recipe.pairs import parse_pairs
from shardforge.train.recipe.settings import FinetuneSettings
from shardforge.train.recipe.smoke import narrow_encoder, shrink_size
from shardforge.train.run import run_training
from shardforge.train.tables import write_confusions
from shardforge.train.weights import fit_weights


class FinetuneTask:
    """A classifier on labelled images."""

    follows = ("top1", True)

    def __init__(self, settings: FinetuneSettings, ranks: Ranks, log: RunLog) -> None:
        self._settings, self._ranks = settings, ranks
        self.averages = settings.model_ema
        arguments = parse_pairs(settings.model_config, "--model-config", refused=DERIVED)
        size = settings.size or resolve_encoder(settings.network, settings=arguments).size[0]
        if settings.smoke:
            size = shrink_size(settings.network, size)
            arguments |= narrow_encoder(settings.network)
        train, validation = _open_data(settings, size)
        self.classes = _check_classes(train, validation)
        self._spec = resolve_encoder(settings.network, size=size, num_classes=len(self.classes), settings=arguments)
        self.model = self.layered = self._spec.create()
        if settings.size:
            self._spec.check_size(self.model)
        self._colours = Colours(settings.rgb_mode).to(ranks.device)
        self._precision = choose_precision(settings, ranks.device)
        self._mixer = Mixer(settings, len(self.classes))
        self._criterion = nn.CrossEntropyLoss(label_smoothing=settings.smoothing_alpha)
        self.loader = training_loader(
            train, settings, ranks, members=("image", "cls", "sample"), samples=settings.wds_train_size
        )
        self._validation = evaluation_loader(
            validation, settings, ranks, members=("image", "cls", "valid"), samples=settings.wds_val_size
        )
        log.say(
            f"{len(train):,} images to train and {len(validation):,} to validate on, {len(self.classes):,} classes, "
            f"{size} px, {len(self.loader):,} batches an epoch"
        )
        self._neighbours = open_neighbours(settings, ranks, self._colours, size, class_file=settings.wds_class_file)
        self._load_weights(log)
        if settings.freeze_body:
            freeze_body(self.model, normalise=settings.probe_norm)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the cross-entropy of a batch, mixed if so asked."""
        images, labels = (part.to(self._ranks.device, non_blocking=True) for part in batch[:2])
        mixed, targets = self._mixer(self._colours(images), labels)
        loss: Tensor = self._criterion(model(mixed).float(), targets)
        return loss

    def begin_epoch(self, epoch: int, step: int) -> None:
        """Keep a frozen body as it is when nothing is dropped."""
        if self._settings.freeze_body:
            train_head(self.model)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Return loss, top-1, top-5, precision, recall and F1 over the validation data."""
        from shardforge.train.metrics import Classification  # torchmetrics takes seconds to import

        model.eval()
        counts = Classification(len(self.classes), self._ranks.device)
        self._validation.set_epoch(0)
        for images, labels, valid in self._validation:
            images = self._colours(images.to(self._ranks.device, non_blocking=True))
            with self._precision.autocast():
                scores = model(images)
            counts.add(scores, labels.to(self._ranks.device), valid.to(self._ranks.device))
        self._confusions = counts.confusions(self._ranks)
        figures = counts.results(self._ranks)
        if self._neighbours is not None:
            figures |= self._neighbours.evaluate(lambda images: before_classifier(model, images), epoch)
        return figures

    def picture(self, model: nn.Module, folder: Path, epoch: int) -> None:
        """Write which classes were taken for which, as `confusion.csv`."""
        write_confusions(folder / "confusion.csv", self.classes, self._confusions)

    def export(self, model: nn.Module) -> dict[str, Tensor]:
        """Return all weights."""
        return fold_norms(export_encoder(model))

    def about(self) -> dict[str, Any]:
        """Return what builds the network, how its colours are normalised, and its classes."""
        return {
            "task": "finetune",
            "network": self._settings.network,
            "model": self._spec.model,
            "arguments": self._spec.arguments,
            "size": self._spec.size[0],
            "rgb_mode": self._settings.rgb_mode,
            "classes": list(self.classes),
        }

    def _load_weights(self, log: RunLog) -> None:
        weights = find_weights(self._settings)
        if weights is None:
            if not self._settings.resume:
                log.say("weights: fresh")
            return
        classes = weights.about.get("classes")
        same = classes == list(self.classes)
        keep_head = same and not self._settings.reset_head
        fitted = fit_weights(weights, self.model, keep_head=keep_head)
        other = "the file has none" if classes is None else "the file's classes are others"
        head = "kept" if keep_head else "new, as asked" if same else f"new: {other}"
        log.say(f"weights: {weights.path}; head {head}; {fitted}")
        if self._settings.freeze_body and (fresh := find_body(self.model, fitted.fresh)):
            log.say(f"--freeze-body: {', '.join(fresh)} of the body are fresh and stay so")


def _open_data(settings: FinetuneSettings, size: int) -> tuple[ShardDataset, ShardDataset]:
    train = open_dataset(
        settings.data_path,
        training_transform(settings, size),
        info=settings.wds_info,
        shards=settings.wds,
        splits=settings.wds_training_split,
        class_file=settings.wds_class_file,
        trust=settings.trust,
    )
    validation = open_validation(settings, size, class_file=settings.wds_class_file, classes=train.classes)
    return train, validation


def _check_classes(train: ShardDataset, validation: ShardDataset) -> Sequence[str]:
    """Return the classes.

    Raises:
        UsageError: there are none, images have none, or both data sets mean different things by a label.
    """
    if train.classes is None:
        raise UsageError("the training data name no classes; give a file with a class a line: --wds-class-file")
    if validation.classes not in (None, train.classes):
        raise UsageError("training and validation data have different classes; write them with one class file")
    for name, dataset in (("training", train), ("validation", validation)):
        labels = dataset.labels
        if len(labels) and labels.max() >= len(train.classes):
            raise UsageError(
                f"the {name} data have a label {labels.max()}, but the class file only {len(train.classes)} lines, "
                "from 0; give the file that the shards were written with"
            )
        if len(labels) and labels.min() < 0:
            raise UsageError(f"{(labels < 0).sum():,} images of the {name} data have no label; leave them out")
    return train.classes


def _run(settings: FinetuneSettings) -> None:
    run_training(settings, FinetuneTask)


main = make_command(
    "shardforge.train.finetune",
    FinetuneSettings,
    _run,
    "Train a classifier, from pre-trained weights or from scratch. Under torchrun on several GPUs.",
)

if __name__ == "__main__":
    main()
