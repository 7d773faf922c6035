"""From the options to a dataset and a loader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from shardforge.dataset.layout import MANIFEST
from shardforge.errors import UsageError
from shardforge.loader.dataset import ShardDataset, Transform
from shardforge.loader.descriptions import read_classes
from shardforge.loader.inputs import check_size, open_all_inputs
from shardforge.loader.loader import ShardLoader
from shardforge.tarfiles import find_compression
from shardforge.train.data.augment import evaluation_transform
from shardforge.train.data.files import FileDataset
from shardforge.train.data.sampling import choose_sampler, count_epoch
from shardforge.train.distributed import Ranks
from shardforge.train.recipe.settings import Settings, expand_home

#: Where recipes have their validation data.
_VALIDATION = "data/validation"


def open_dataset(
    paths: Sequence[str],
    transform: Transform,
    *,
    info: Sequence[str] = (),
    shards: bool = False,
    splits: Sequence[str] = (),
    class_file: str | None = None,
    classes: Sequence[str] | None = None,
    trust: bool = False,
) -> ShardDataset:
    """Return the dataset that these paths, or manifests instead of them, name together.

    `splits` choose in manifests; `classes` number the labels of image files, `class_file` those of shards, too. What
    manifests name lies in their own folders, or with `trust` anywhere.

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
    sets = open_all_inputs(places, splits=splits, class_file=class_file and expand_home(class_file), trust=trust)
    return ShardDataset(sets, transform=transform)


def open_validation(
    settings: Settings, size: int, *, class_file: str | None = None, classes: Sequence[str] | None = None
) -> ShardDataset:
    """Return the validation data: `--val-path`, else a split of the training data, else `data/validation`.

    Raises:
        UsageError: there is none of them.
    """
    has_own = settings.wds_info or all(map(has_splits, settings.data_path))
    if not settings.val_path and not has_own and not Path(_VALIDATION).exists():
        raise UsageError("there are no images to evaluate on: --data-path has no splits; name some with --val-path")
    return open_dataset(
        settings.val_path or (settings.data_path if has_own else (_VALIDATION,)),
        evaluation_transform(size),
        info=() if settings.val_path else settings.wds_info,
        shards=settings.wds,
        splits=settings.wds_val_split,
        class_file=class_file,
        classes=classes,
        trust=settings.trust,
    )


def is_shards(place: str) -> bool:
    """Tell whether a path names shards: tars, by name, braces or folder, or a manifest."""
    path = Path(place)
    if path.is_dir():
        return has_splits(place) or any(path.glob("*.tar"))
    tar = path.suffix == ".tar" or find_compression(path.name) is not None
    return tar or path.name == MANIFEST or "{" in place or "*" in place or "://" in place


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
        if settings.repeat:
            raise UsageError(f"--repeat and a size of {samples:,} both say how long an epoch is: give one of them")
    sampler = choose_sampler(dataset, settings)
    return ShardLoader(
        dataset,
        global_batch_size=settings.batch_size * ranks.world,
        members=members,
        seed=settings.seed,
        sampler=sampler,
        repeats=settings.ra_reps if settings.ra_sampler else 1,
        epoch_samples=count_epoch(sampler, settings) if samples is None else samples,
        on_error="skip" if settings.skip_bad else "raise",
        num_workers=settings.workers,
        rank=ranks.rank,
        world=ranks.world,
    )


class Reading(Protocol):
    """What evaluation asks of the options."""

    @property
    def batch_size(self) -> int:
        """Images of a batch, for each process."""
        ...

    @property
    def workers(self) -> int | None:
        """Workers of each process, None for one a core."""
        ...

    @property
    def skip_bad(self) -> bool:
        """Whether to go on where an image cannot be read."""
        ...


def evaluation_loader(
    dataset: ShardDataset, settings: Reading, ranks: Ranks, *, members: Sequence[str], samples: int | None = None
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
