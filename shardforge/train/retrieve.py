"""`python -m shardforge.train.retrieve`: the images most like some images, by their features."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import click
import pyarrow as pa
import torch

from shardforge.errors import UsageError
from shardforge.progress import Progress
from shardforge.train.distributed import join_ranks
from shardforge.train.explain import explained_errors
from shardforge.train.recipe.options import flag, make_command
from shardforge.train.recipe.settings import expand_home
from shardforge.train.use.examples import Examples, given_examples, open_extractor, stored_examples
from shardforge.train.use.feature_files import FeatureFolder, is_features, open_features
from shardforge.train.use.retrieval import HITS, Retrieval
from shardforge.train.use.row_file import Write, check_row_file, open_row_file
from shardforge.train.use.sheet import write_sheet


@dataclass(frozen=True, kw_only=True)
class RetrieveSettings:
    """Options of `python -m shardforge.train.retrieve`."""

    features: str = flag(..., "Folder of features to search in.", argument=True)
    query: tuple[str, ...] = flag(
        (), "What to search for: images, folders of images, or a folder of features. [default: all that is searched in]"
    )
    top_k: int = flag(10, "Images to find for each query.", least=1)
    out: str | None = flag(None, "File for what is found: .parquet or .jsonl. [default: images are answered on stdout]")
    show: str | None = flag(None, "PNG with the first queries and what is found for them.")
    show_queries: int = flag(8, "How many, with --show.", least=1)
    weights: str | None = flag(None, "Weights that made the features, for query images. [default: where they were]")
    batch_size: int = flag(64, "Query images that are computed at once.", least=1)
    device: str = flag("auto", "Where to compute: auto, cpu, cuda.", choices=("auto", "cpu", "cuda"))

    def __post_init__(self) -> None:
        check_row_file(self.out, "--out")


@explained_errors()
def _run(settings: RetrieveSettings) -> None:
    folder = open_features(Path(expand_home(settings.features)))
    with join_ranks(settings.device) as ranks:
        if ranks.world > 1:
            raise UsageError("a search runs in one process: start it without torchrun")
        gallery = stored_examples(folder)
        queries = _open_queries(settings, folder, ranks.device) if settings.query else gallery
        retrieval = Retrieval(queries, gallery, settings.top_k, ranks.device)
    with _open_hits(settings) as write, Progress() as progress:
        retrieval.run(write, progress)
    for name, value in retrieval.quality.results().items():
        click.echo(f"{name:<10} {value:.6g}")
    if settings.show:
        write_sheet(Path(expand_home(settings.show)), retrieval.tiles(settings.show_queries))


def _open_queries(settings: RetrieveSettings, gallery: FeatureFolder, device: torch.device) -> Examples:
    """Return the queries: features of the same kind, or images that are made to such now."""
    first = Path(expand_home(settings.query[0]))
    if not is_features(first):
        extract = open_extractor(gallery, settings.weights, device)
        return given_examples(settings.query, extract, settings.batch_size)
    if len(settings.query) > 1:
        raise UsageError(f"--query {first}: is a folder of features; name it alone")
    queries = open_features(first)
    if queries.maker != gallery.maker:
        raise UsageError(
            f"{first} and {gallery.path}: were made with other weights or another pooling; extract one of them again"
        )
    return stored_examples(queries)


def _open_hits(settings: RetrieveSettings) -> AbstractContextManager[Write | None]:
    """Return where hits go: to the file, else those of query images to stdout."""
    if settings.out:
        return open_row_file(Path(expand_home(settings.out)), HITS)
    of_images = settings.query and not is_features(Path(expand_home(settings.query[0])))
    return nullcontext(_print_hits if of_images else None)


def _print_hits(hits: pa.Table) -> None:
    for hit in hits.to_pylist():
        click.echo("\t".join([hit["query"], str(hit["rank"]), f"{hit['score']:.4f}", hit["class"] or "", hit["key"]]))


main = make_command(
    "shardforge.train.retrieve",
    RetrieveSettings,
    _run,
    "Find the images most like others by cosine similarity of their features, exactly.",
)

if __name__ == "__main__":
    main()
