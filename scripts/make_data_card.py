"""Make the numbers in data_card.md anew from the photos in data/photos, or check that they are up to date.

usage: python scripts/make_data_card.py [--check]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from shardforge.catalog.describe import describe_images
from shardforge.catalog.front_matter import describe_licences, size_category, to_yaml
from shardforge.catalog.markdown import make_table
from shardforge.catalog.markers import fill_parts
from shardforge.catalog.statistics import OF_IMAGES, Statistics, collect_statistics
from shardforge.executors import open_executor
from shardforge.mapping import open_mapping
from shardforge.mapping.update import map_sources
from shardforge.sources import parse_source

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "data_card.md"


def main() -> None:
    before = CARD.read_text(encoding="utf-8")
    card = fill_parts(before, make_parts(count_photos()), CARD.name)
    if "--check" in sys.argv[1:]:
        if card != before:
            sys.exit(f"{CARD.name} is not what the photos say: run `make docs`")
    else:
        CARD.write_text(card, encoding="utf-8")


def count_photos() -> Statistics:
    """Map the photos into a database of their own and count them."""
    source = parse_source(f"photos=table:{ROOT / 'data' / 'photos' / 'photos.csv'}")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_executor("local", 0) as executor,
        open_mapping(Path(folder, "mapping.duckdb"), write=True, create=True) as mapping,
    ):
        map_sources(mapping, [source], executor)
        found = collect_statistics(mapping, OF_IMAGES)
        [(photos, named)] = mapping.rows("SELECT count(*), count(common_name) FROM images WHERE reason IS NULL")
    return {**found, "counts": [{"photos": photos, "common_names": named}]}


def make_parts(found: Statistics) -> dict[str, str]:
    """Return the generated parts of the card."""
    [counts] = found["counts"]
    taxa = {row["rank"]: row["taxa"] for row in found["ranks"]}
    rows = [
        ("photos", counts["photos"]),
        ("species", taxa["species"]),
        ("families", taxa["family"]),
        ("photos without a common name", counts["photos"] - counts["common_names"]),
    ]
    front_matter = {**describe_licences(found["licences"]), "size_categories": [size_category(counts["photos"])]}
    return {
        "front_matter": to_yaml(front_matter),
        "counts": make_table(("what", "number"), rows),
        **describe_images(found, labelled=True),
    }


if __name__ == "__main__":
    main()
