"""The data card: `README.md` of a dataset, with numbers between markers, so that what a person writes stays.

Beside it `croissant.json` says the same to programs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shardforge.catalog.catalog import has_current_catalog, has_metadata, open_catalog, write_catalog
from shardforge.catalog.croissant import make_croissant
from shardforge.catalog.describe import describe_images
from shardforge.catalog.describe_dataset import describe_dataset_parts
from shardforge.catalog.describe_mapping import describe_mapping_parts
from shardforge.catalog.front_matter import describe_dataset, describe_licences, size_category, to_yaml
from shardforge.catalog.markers import fill_parts, list_parts
from shardforge.catalog.statistics import OF_IMAGES, Statistics, collect_statistics
from shardforge.dataset.layout import Layout
from shardforge.dataset.manifest import Manifest, read_manifest
from shardforge.errors import DatasetError, UsageError
from shardforge.files import atomic_write
from shardforge.mapping import open_mapping

_TEMPLATE = Path(__file__).with_name("card_template.md")


@dataclass(frozen=True)
class CardReport:
    """What became of a card: the files that were written and its generated parts.

    Parts in `left` wait for a mapping; those in `unknown` have a name that no part of a card has, and stay as they are.
    """

    path: Path
    written: tuple[Path, ...]
    parts: tuple[str, ...]
    left: tuple[str, ...]
    unknown: tuple[str, ...]


def write_card(
    out: Path, db: Path | None = None, *, progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> CardReport:
    """Write the card of the dataset in `out`, or renew the numbers in the one there is; and Croissant, and the catalog.

    `db` is the mapping that the dataset was written from; without it the parts that only a mapping can tell (how it was
    split, what was left out) stay as they are.

    Raises:
        UsageError: there is a README.md without markers, which a person wrote; or the mapping lacks the dataset.
        DatasetError: the folder holds no dataset of shardforge, or the card's markers are damaged.
    """
    layout = Layout(out)
    manifest = read_manifest(layout.manifest)
    if not manifest.ours:
        raise DatasetError(f"{layout.manifest}: not of shardforge; a card is made of what `shardforge write` wrote")
    before = _read_card(layout)
    text = _start_card(manifest) if before is None else before
    parts = list_parts(text, str(layout.card))
    written = []
    if not has_current_catalog(layout):
        write_catalog(out, progress=progress)
        written.append(layout.catalog)
    with open_catalog(layout.catalog, labelled=manifest.ours["classes"] is not None) as catalog:
        found = collect_statistics(catalog, {**OF_IMAGES, "splits": "select_catalog_splits"}, progress=progress)
    made = _make_parts(layout, manifest, found)
    if db is not None:
        made |= _ask_mapping(db, manifest)
    licences = sorted({row["url"] for row in found["licences"] if row["url"]})
    croissant = make_croissant(layout, manifest, description=made["summary"], licences=licences)
    text = fill_parts(text, made, str(layout.card))
    contents = {layout.card: text.encode(), layout.croissant: croissant}
    written = [*(path for path, content in contents.items() if _replace(path, content)), *written]
    known = list_parts(_TEMPLATE.read_text(encoding="utf-8"), str(_TEMPLATE))
    return CardReport(
        layout.card,
        tuple(written),
        tuple(parts),
        left=tuple(name for name in parts if name in known and name not in made),
        unknown=tuple(name for name in parts if name not in known),
    )


def _replace(path: Path, content: bytes) -> bool:
    """Write a file unless it has this content already; return whether it was written."""
    if path.is_file() and path.read_bytes() == content:
        return False
    with atomic_write(path) as file:
        file.write(content)
    return True


def _read_card(layout: Layout) -> str | None:
    """Return the card that is there, None where there is none."""
    try:
        text = layout.card.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{layout.card}: not UTF-8 ({error}); move it away and run again") from error
    if not list_parts(text, str(layout.card)):
        raise UsageError(
            f"{layout.card}: has no shardforge markers, so a person wrote it and it stays as it is; move it away to "
            "have a card made, or put the lines <!-- shardforge:structure --> and <!-- /shardforge:structure --> where "
            "numbers are to stand"
        )
    return text


def _start_card(manifest: Manifest) -> str:
    """Return the template with what never changes: a card with empty parts."""
    labelled = manifest.ours["classes"] is not None
    text = _TEMPLATE.read_text(encoding="utf-8")
    task = "image-classification" if labelled else "image-feature-extraction"
    return text.replace("{name}", manifest.content["name"]).replace("{task}", task)


def _make_parts(layout: Layout, manifest: Manifest, found: Statistics) -> dict[str, str]:
    """Return the parts that manifest and catalog can tell."""
    return {
        "front_matter": _make_front_matter(layout, manifest, found),
        **describe_dataset_parts(manifest, found),
        **describe_images(found, labelled=manifest.ours["classes"] is not None),
    }


def _make_front_matter(layout: Layout, manifest: Manifest, found: Statistics) -> str:
    samples = sum(shard.samples for shard in manifest.shards)
    classes = layout.classes.read_text(encoding="utf-8").splitlines() if manifest.ours["classes"] else []
    return to_yaml(
        {
            **describe_licences(found["licences"]),
            "size_categories": [size_category(samples)],
            **describe_dataset(manifest, classes, metadata=has_metadata(layout.catalog)),
        }
    )


def _ask_mapping(db: Path, manifest: Manifest) -> dict[str, str]:
    with open_mapping(db) as mapping:
        folder = str(manifest.path.parent.resolve())
        if not mapping.rows("SELECT 1 FROM datasets WHERE out = $out", out=folder):
            raise UsageError(
                f"--db {db}: does not know the dataset {folder}; give the mapping that it was written from, or no --db"
            )
        return describe_mapping_parts(mapping, manifest)
