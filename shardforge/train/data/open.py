"""From the options to a dataset and a loader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shardforge.dataset.layout import MANIFEST
from shardforge.errors import UsageError
from shardforge.loader.dataset import ShardDataset, Transform
from shardforge.loader.inputs import check_size, open_all_inputs, read_classes
from shardforge.loader.loader import ShardLoader
from shardforge.train.data.files import FileDataset
from shardforge.train.distributed import Ranks
from shardforge.train.recipe.settings import Settings, expand_home


def open_dataset(
    paths: Sequence[str],
    transform: Transform,
    *,
    info: Sequence[str] = (),
    shards: bool = False,
    splits: Sequence[str] = (),
    class_file: str | None = None,
    classes: Sequence[str] | None = None,
) -> ShardDataset:
    """Return the dataset that these paths, or manifests instead of them, name together.

    `splits` choose in manifests; `classes` number the labels of image files, `class_file` those of shards, too.

    Raises:
        UsageError: nothing is there, or images and shards are mixed.
    """
    places = [expand_home(path) for path in (info or paths)]
    if class_file is not None and classes is None:
        classes = read_classes(expand_home(class_file))
    kinds = [shards or bool(info) or is_shards(place) for place in places]
    if not any(kinds):
        return FileDataset(places, classes=classes, transform=transform)
    if not all(kinds):
        raise UsageError(
            f"{places[kinds.index(False)]} holds images and {places[kinds.index(True)]} shards; they cannot be read as "
            "one: pack the images, too (shardforge map, split, write)"
        )
    sets = open_all_inputs(places, splits=splits, class_file=class_file and expand_home(class_file))
    return ShardDataset(sets, transform=transform)


def is_shards(place: str) -> bool:
    """Tell whether a path names shards: tars, by name, braces or folder, or a manifest."""
    path = Path(place)
    if path.is_dir():
        return has_splits(place) or any(path.glob("*.tar"))
    return path.suffix == ".tar" or path.name == MANIFEST or "{" in place or "*" in place or "://" in place


def has_splits(place: str) -> bool:
    """Tell whether a path is a manifest, or a folder with one."""
    path = Path(expand_home(place))
    return path.name == MANIFEST or (path / MANIFEST).exists()


def training_loader(
    dataset: ShardDataset, settings: Settings, ranks: Ranks, *, members: Sequence[str], samples: int | None
) -> ShardLoader:
    """Return the loader of shuffled training batches; `samples` makes epochs shorter than the dataset."""
    if samples is not None:
        check_size(samples, len(dataset), exact=False)
    return ShardLoader(
        dataset,
        global_batch_size=settings.batch_size * ranks.world,
        members=members,
        seed=settings.seed,
        repeats=settings.ra_reps if settings.ra_sampler else 1,
        epoch_samples=samples,
        on_error="skip" if settings.skip_bad else "raise",
        num_workers=settings.workers,
        rank=ranks.rank,
        world=ranks.world,
    )


def evaluation_loader(
    dataset: ShardDataset, settings: Settings, ranks: Ranks, *, members: Sequence[str], samples: int | None
) -> ShardLoader:
    """Return the loader that shows each sample once over all ranks."""
    if samples is not None:
        check_size(samples, len(dataset), exact=True)
    return ShardLoader(
        dataset,
        global_batch_size=settings.batch_size * ranks.world,
        members=members,
        shuffle=False,
        last="exact",
        on_error="skip" if settings.skip_bad else "raise",
        num_workers=settings.workers,
        rank=ranks.rank,
        world=ranks.world,
    )
