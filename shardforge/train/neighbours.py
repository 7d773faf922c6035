"""How good features are without training anything on them: images are classified by their nearest neighbours.

As in DINO (Caron et al. 2021, arXiv:2104.14294): the k neighbours of largest cosine similarity s vote for their classes
with weight exp(s / 0.07).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.loader import ShardLoader
from shardforge.train.data.augment import Colours, evaluation_transform
from shardforge.train.data.open import evaluation_loader, open_dataset, open_validation
from shardforge.train.distributed import Ranks
from shardforge.train.recipe.settings import Settings

_TEMPERATURE = 0.07
#: Neighbours that are compared with a batch at once.
_BLOCK = 1 << 16
_TOP = 5


class Neighbours:
    """Labelled images in which the neighbours of the validation images are looked for.

    Each rank holds the features of its share of them and asks all ranks for the nearest, so the outcome is that of one
    process.
    """

    def __init__(
        self, settings: Settings, ranks: Ranks, colours: Colours, size: int, *, class_file: str | None = None
    ) -> None:
        self._settings, self._ranks, self._colours = settings, ranks, colours
        own = not settings.knn_path
        known = open_dataset(
            settings.knn_path or settings.data_path,
            evaluation_transform(size),
            info=settings.wds_info if own else (),
            shards=settings.wds,
            splits=settings.training_splits,
            class_file=class_file,
            trust=settings.trust,
        )
        asked = open_validation(settings, size, class_file=class_file, classes=known.classes)
        self._classes = _count_classes(known, asked)
        self._known, self._asked = (self._load(dataset) for dataset in (known, asked))

    @torch.no_grad()
    def evaluate(self, encode: Callable[[Tensor], Tensor], epoch: int) -> dict[str, float]:
        """Return top-1 and top-5 accuracy after an epoch of `--knn-every`, after others nothing.

        `encode` makes features [B, width] of normalised images.
        """
        if epoch % (self._settings.knn_every or 1):
            return {}
        from shardforge.train.metrics import ClassScores  # torchmetrics takes seconds to import

        parts = [(features[valid], labels[valid]) for features, labels, valid in self._encode(self._known, encode)]
        features, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        scores = ClassScores(self._classes).to(self._ranks.device)
        for queries, truth, valid in self._encode(self._asked, encode):
            best = self._vote(*self._find(queries, features, labels))
            scores.update(best[valid], truth[valid], torch.zeros((), device=best.device))
        self._known.close()
        self._asked.close()
        found = scores.compute()
        return {"knn_top1": float(found["top1"]), "knn_top5": float(found["top5"])}

    def _load(self, dataset: ShardDataset) -> ShardLoader:
        return evaluation_loader(dataset, self._settings, self._ranks, members=("image", "cls", "valid"))

    def _encode(
        self, loader: ShardLoader, encode: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield features of length 1, labels, and which rows count; as many batches of as many rows on every rank."""
        loader.set_epoch(0)
        for batch in loader:
            images, labels, valid = (part.to(self._ranks.device, non_blocking=True) for part in batch)
            features = encode(self._colours(images)).float()
            yield nn.functional.normalize(features, dim=1), labels, valid

    def _find(self, queries: Tensor, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return similarity and class [B, k] of the nearest neighbours of this rank's queries, over all ranks."""
        everyone = self._ranks.stack(queries).flatten(0, 1)
        similar, classes = map(self._exchange, find_nearest(everyone, features, labels, self._settings.knn_k))
        nearest = similar.topk(self._settings.knn_k, dim=1)
        return nearest.values, classes.gather(1, nearest.indices)

    def _exchange(self, found: Tensor) -> Tensor:
        """Return what all ranks found for the queries of this one: [ranks x B, k] of each becomes [B, ranks x k]."""
        world = self._ranks.world
        by_rank = self._ranks.stack(found).reshape(world, world, -1, found.shape[1])
        return by_rank[:, self._ranks.rank].transpose(0, 1).flatten(1)

    def _vote(self, similar: Tensor, classes: Tensor) -> Tensor:
        """Return the best classes [B, at most 5], -1 for those that have no vote."""
        votes = similar.new_zeros(len(similar), self._classes)
        votes.scatter_add_(1, classes, (similar / _TEMPERATURE).exp())
        best = votes.topk(min(_TOP, self._classes), dim=1)
        return best.indices.masked_fill(best.values == 0, -1)


def open_neighbours(
    settings: Settings, ranks: Ranks, colours: Colours, size: int, *, class_file: str | None = None
) -> Neighbours | None:
    """Return what evaluates by neighbours, None where nobody asks for it.

    Raises:
        UsageError: the data have no labels, or two meanings of them.
    """
    return Neighbours(settings, ranks, colours, size, class_file=class_file) if settings.knn_every else None


def find_nearest(queries: Tensor, features: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return similarity and label [B, k] of the nearest rows of `features`; -inf where there are fewer.

    Args:
        queries: float [B, width], of length 1.
        features: float [N, width], of length 1.
        labels: int64 [N].
        k: how many.
    """
    similar = queries.new_full((len(queries), k), -torch.inf)
    classes = labels.new_zeros(len(queries), k)
    for block, block_labels in zip(torch.split(features, _BLOCK), torch.split(labels, _BLOCK), strict=True):
        together = torch.cat([similar, queries @ block.T], dim=1)
        nearest = together.topk(k, dim=1)
        choices = torch.cat([classes, block_labels.expand(len(queries), -1)], dim=1)
        similar, classes = nearest.values, choices.gather(1, nearest.indices)
    return similar, classes


def _count_classes(known: ShardDataset, asked: ShardDataset) -> int:
    """Return how many classes there are.

    Raises:
        UsageError: images lack labels, or both data sets mean different things by them.
    """
    for name, dataset in (("neighbours", known), ("validation images", asked)):
        if missing := int((dataset.labels < 0).sum()):
            raise UsageError(
                f"--knn-every: {missing:,} of the {len(dataset):,} {name} have no label; name labelled data with "
                "--knn-path and --val-path"
            )
    if asked.classes not in (None, known.classes):
        raise UsageError("--knn-every: neighbours and validation images have different classes; give both the same")
    return int(max(known.labels.max(), asked.labels.max())) + 1
