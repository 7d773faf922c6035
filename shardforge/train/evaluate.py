"""`python -m shardforge.train.evaluate`: how good a classifier is, on any data, and what it says of each image."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import pyarrow as pa
import torch
from torch import Tensor

from shardforge.errors import UsageError
from shardforge.files import atomic_write
from shardforge.loader.dataset import KEY, ShardDataset
from shardforge.loader.transforms import BatchTransform
from shardforge.progress import Progress
from shardforge.train.data.open import evaluation_loader
from shardforge.train.distributed import Ranks, join_ranks
from shardforge.train.log import RunLog
from shardforge.train.metrics import Classification
from shardforge.train.precision import choose_precision
from shardforge.train.recipe.options import flag, make_command
from shardforge.train.recipe.settings import expand_home
from shardforge.train.run import open_log
from shardforge.train.tables import write_class_table, write_confusions
from shardforge.train.use.inference import check_classifier
from shardforge.train.use.opening import number_labels, open_images, open_model
from shardforge.train.use.preprocessing import preprocessing_of
from shardforge.train.use.row_file import Write, check_row_file, open_row_file
from shardforge.train.use.settings import Applying
from shardforge.train.use.views import KINDS, average_answers, choose_views

_ANSWERS = pa.schema(
    {
        "key": pa.string(),
        "label": pa.int32(),
        "class": pa.string(),
        "answer": pa.int32(),
        "answer_class": pa.string(),
        "score": pa.float32(),
    }
)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Applying):
    """Options of `python -m shardforge.train.evaluate`."""

    wds_split: tuple[str, ...] = flag(("validation",), "Splits of the manifests; one for all, or one each.")
    tta: tuple[str, ...] = flag((), "Average the answers over views of each image.", choices=KINDS)
    out: str | None = flag(None, "File for the answer to each image: .parquet or .jsonl.")
    report: str | None = flag(None, "Folder for metrics.json, classes.csv and confusion.csv.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_row_file(self.out, "--out")


class Evaluation:
    """A classifier, and the images that it is tried on."""

    def __init__(self, settings: EvaluateSettings, ranks: Ranks, log: RunLog) -> None:
        self._ranks = ranks
        self._model = open_model(settings).to(ranks.device)
        expected = preprocessing_of(self._model)
        outputs = check_classifier(self._model, settings.weights)
        self._colours = expected.colours().to(ranks.device)
        self._precision = choose_precision(settings, ranks.device)
        self._mirror = "flip" in settings.tta
        dataset = open_images(settings, expected.transform(), classes=expected.classes)
        number_labels(dataset, expected.classes, outputs)
        self.labelled = int((dataset.labels >= 0).sum())
        if not self.labelled and settings.out is None:
            raise UsageError("no image has a label, so nothing can be counted; give --out for the answers alone")
        named = expected.classes or dataset.classes or ()
        self.classes = named if len(named) == outputs else tuple(map(str, range(outputs)))
        self.counts = Classification(outputs, ranks.device)
        views = choose_views(settings.tta, expected.transform())
        members = ("image", "cls", "valid", *((KEY,) if settings.out else ()))
        self._loaders = [
            evaluation_loader(_with_transform(dataset, view), settings, ranks, members=members) for view in views
        ]
        log.say(
            f"{len(dataset):,} images of {expected.size} px, {self.labelled:,} with a label of {outputs:,} classes; "
            f"views of each: {len(views) * (1 + self._mirror)}"
        )

    @torch.inference_mode()
    def run(self, write: Write | None, progress: Progress) -> None:
        """Go through the images once; each view of them has a loader of its own."""
        device = self._ranks.device
        for step, batches in enumerate(zip(*self._loaders, strict=True)):
            _, labels, valid, *keys = batches[0]
            views = [self._colours(batch[0].to(device, non_blocking=True)) for batch in batches]
            with self._precision.autocast():
                answers = average_answers(self._model, views, mirror=self._mirror)
            self.counts.add(answers, labels.to(device), (valid & (labels >= 0)).to(device))
            if keys:
                self._hand_over(_table(keys[0], labels, valid, answers.cpu(), self.classes), write)
            progress("batches", step + 1, len(self._loaders[0]))

    def count_skipped(self) -> int:
        """Return how many images could not be read, over all ranks."""
        return sum(self._ranks.gather(len(self._loaders[0].skipped)))

    def close(self) -> None:
        """Stop reading."""
        for loader in self._loaders:
            loader.close()

    def _hand_over(self, table: pa.Table, write: Write | None) -> None:
        """Let the first rank write the answers of all, in the order of the images."""
        tables = self._ranks.gather(table)
        if write is not None:
            write(pa.concat_tables(tables))


def _with_transform(dataset: ShardDataset, transform: BatchTransform) -> ShardDataset:
    """Return the same images, made ready in another way."""
    other = copy.copy(dataset)
    other.transform = transform
    return other


def _table(keys: list[str], labels: Tensor, valid: Tensor, answers: Tensor, classes: Sequence[str]) -> pa.Table:
    """Return the rows of a batch that are images of their own."""
    scores, best = answers.exp().max(1)
    columns = (labels.tolist(), valid.tolist(), best.tolist(), scores.tolist())
    rows = [
        {
            "key": key,
            "label": label if label >= 0 else None,
            "class": classes[label] if label >= 0 else None,
            "answer": answer,
            "answer_class": classes[answer],
            "score": score,
        }
        for key, label, own, answer, score in zip(keys, *columns, strict=True)
        if own
    ]
    return pa.Table.from_pylist(rows, _ANSWERS)


def _run(settings: EvaluateSettings) -> None:
    report = Path(expand_home(settings.report)) if settings.report else None
    with join_ranks(settings.device) as ranks, open_log(report or Path(), ranks) as log:
        evaluation = Evaluation(settings, ranks, log)
        with _open_answers(settings, ranks) as write, Progress(quiet=not ranks.first) as progress:
            evaluation.run(write, progress)
        skipped = evaluation.count_skipped()
        evaluation.close()
        if skipped:
            log.say(f"{skipped:,} images could not be read and do not count")
        if evaluation.labelled:
            _show(evaluation, settings, ranks, report)


def _open_answers(settings: EvaluateSettings, ranks: Ranks) -> AbstractContextManager[Write | None]:
    if settings.out is None or not ranks.first:
        return nullcontext()
    return open_row_file(Path(expand_home(settings.out)), _ANSWERS)


def _show(evaluation: Evaluation, settings: EvaluateSettings, ranks: Ranks, report: Path | None) -> None:
    """Print the figures, and write them with the tables of classes."""
    figures, confusions = evaluation.counts.results(ranks), evaluation.counts.confusions(ranks)
    if not ranks.first:
        return
    for name, value in figures.items():
        click.echo(f"{name:<18} {value:.6g}")
    if report is not None:
        with atomic_write(report / "metrics.json") as file:
            file.write(json.dumps({"settings": asdict(settings), "metrics": figures}, indent=2).encode() + b"\n")
        write_class_table(report / "classes.csv", evaluation.classes, confusions)
        write_confusions(report / "confusion.csv", evaluation.classes, confusions)


main = make_command(
    "shardforge.train.evaluate",
    EvaluateSettings,
    _run,
    "Evaluate a classifier on images, and write what it says of each. Under torchrun on several GPUs.",
)

if __name__ == "__main__":
    main()
