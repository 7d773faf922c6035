"""`python -m shardforge.train.features`: a vector for each image, of shards or folders, as files."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from shardforge.errors import TaskError, UsageError
from shardforge.files import sha256_file
from shardforge.loader.dataset import KEY
from shardforge.progress import Progress
from shardforge.train.data.open import evaluation_loader
from shardforge.train.distributed import Ranks, join_ranks
from shardforge.train.log import RunLog
from shardforge.train.recipe.options import make_command
from shardforge.train.recipe.settings import expand_home
from shardforge.train.run import open_log
from shardforge.train.use.extractor import Extractor, FeaturesSettings
from shardforge.train.use.feature_files import ROWS, check_room, finish_features, part_name, write_part
from shardforge.train.use.models import find_weights_file
from shardforge.train.use.opening import open_images


def extract_features(settings: FeaturesSettings, ranks: Ranks, log: RunLog) -> None:
    """Write the features of all images, each rank those that it reads."""
    folder = Path(expand_home(settings.out))
    if ranks.first:
        check_room(folder)
    extract = Extractor(settings, ranks.device)
    dataset = open_images(settings, extract.expected.transform())
    loader = evaluation_loader(dataset, settings, ranks, members=("image", KEY, "cls", "valid", "sample"))
    log.say(f"{len(dataset):,} images of {extract.expected.size} px, vectors of {extract.width:,} numbers")
    ranks.wait()
    part: dict[str, Any] = {"format": settings.format, "width": extract.width, "dtype": settings.dtype}
    written = 0
    with write_part(folder, ranks.rank, **part) as add, Progress(quiet=not ranks.first) as progress:
        for step, (images, keys, labels, valid, samples) in enumerate(loader):
            rows, own = _rows(keys, samples, labels, valid), valid.nonzero()[:, 0]
            vectors = extract(images)[own].numpy()
            _check_range(vectors, settings.dtype)
            add(rows, vectors)
            written += len(rows)
            progress("batches", step + 1, len(loader))
    loader.close()
    counts = ranks.gather(written)
    if ranks.first:
        about = {**part, "images": sum(counts), "classes": dataset.classes and list(dataset.classes)}
        parts = [part_name(rank, settings.format) for rank in range(ranks.world)]
        finish_features(folder, {**about, "parts": parts, **_describe_origin(settings)})
        skipped = len(dataset) - sum(counts)
        unread = f"; {skipped:,} could not be read" if skipped else ""
        log.say(f"finished: {folder}, {sum(counts):,} images{unread}")


def _rows(keys: list[str], samples: Tensor, labels: Tensor, valid: Tensor) -> pa.Table:
    """Return the rows of a batch that are images of their own."""
    own = valid.numpy()
    label = pa.array(labels.numpy().astype(np.int32), mask=labels.numpy() < 0)
    return pa.table([pa.array(keys, pa.string()), pa.array(samples.numpy()), label], schema=ROWS).filter(pa.array(own))


def _check_range(vectors: np.ndarray, dtype: str) -> None:
    if not np.isfinite(vectors).all():
        raise TaskError(
            "features are no numbers: the weights are damaged, or --amp is too coarse for them; leave --amp out, "
            "or take other weights"
        )
    if np.abs(vectors).max(initial=0.0) > np.finfo(dtype).max:
        raise UsageError(f"--dtype {dtype}: cannot hold all features; give --dtype float32")


def _describe_origin(settings: FeaturesSettings) -> dict[str, Any]:
    """Return the options, with paths that hold in any folder, and what tells the weights from others."""
    file = find_weights_file(settings.weights)
    anywhere = replace(
        settings,
        weights=settings.weights if file is None else str(file.absolute()),
        data_path=tuple(map(_absolute, settings.data_path)),
        wds_info=tuple(map(_absolute, settings.wds_info)),
        wds_class_file=settings.wds_class_file and _absolute(settings.wds_class_file),
    )
    return {"weights_sha256": file and sha256_file(file), "settings": asdict(anywhere)}


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(expand_home(path))


def _run(settings: FeaturesSettings) -> None:
    with join_ranks(settings.device) as ranks, open_log(Path(settings.out), ranks) as log:
        extract_features(settings, ranks, log)


main = make_command(
    "shardforge.train.features",
    FeaturesSettings,
    _run,
    "Extract a vector for each image. Under torchrun on several GPUs.",
)

if __name__ == "__main__":
    main()
