"""How often an epoch shows an image: as options for classes and for places of data ask, by the loader's own orders."""

from __future__ import annotations

import numpy as np

from shardforge.errors import UsageError
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.mixing import Mixture, Source
from shardforge.loader.order import Sampler, Shuffled
from shardforge.loader.randomness import derive_key
from shardforge.loader.sampling import ClassSampler
from shardforge.train.recipe.settings import Settings


def choose_sampler(dataset: ShardDataset, settings: Settings) -> Sampler:
    """Return the order of training: each image once a pass, unless options ask for other shares.

    Raises:
        UsageError: images have no label where classes decide.
    """
    if settings.class_balanced or settings.oversample_thr is not None:
        return _balance_classes(dataset, settings)
    if settings.data_weights or len(settings.repeat) > 1:
        return _mix_places(dataset, settings)
    return Shuffled(dataset.index.lengths, seed=settings.seed)


def count_epoch(sampler: Sampler, settings: Settings) -> int:
    """Return the images of an epoch: a pass, or as many as `--repeat` says."""
    return sampler.samples * (settings.repeat[0] if len(settings.repeat) == 1 else 1)


def _balance_classes(dataset: ShardDataset, settings: Settings) -> ClassSampler:
    """Return the order that shows all classes alike, or rare ones more often and the others as they are.

    The latter is repeat factor sampling (Gupta, Dollar and Girshick 2019, arXiv:1908.03195), whose factors are met by
    counting: 1.5 means that half of a class comes twice, where OpenMMLab's ClassBalancedDataset has all of it twice.
    """
    labels = dataset.labels
    if missing := int((labels < 0).sum()):
        option = "--class-balanced" if settings.class_balanced else "--oversample-thr"
        raise UsageError(
            f"{missing:,} images have no label, so {option} cannot tell how often to show them; label them"
        )
    if settings.oversample_thr is None:
        return ClassSampler(labels, seed=settings.seed)
    images = np.bincount(labels).astype(np.float64)
    shares = np.maximum(images, 1) / len(labels)
    weights = images * np.maximum(1.0, np.sqrt(settings.oversample_thr / shares))
    return ClassSampler(labels, seed=settings.seed, weights=weights, samples=round(weights.sum()))


def _mix_places(dataset: ShardDataset, settings: Settings) -> Mixture:
    """Return the order in which each place of data has its share of an epoch, or each is shown its number of times."""
    draws = np.array(dataset.sizes) * np.array(settings.repeat if len(settings.repeat) > 1 else 1)
    weights = settings.data_weights or tuple(draws.tolist())
    sources = [
        Source(Shuffled(lengths, seed=derive_key(settings.seed, number)), size, weight)
        for number, (lengths, size, weight) in enumerate(zip(dataset.lengths, dataset.sizes, weights, strict=True))
    ]
    return Mixture(sources, seed=settings.seed, samples=int(draws.sum()))
