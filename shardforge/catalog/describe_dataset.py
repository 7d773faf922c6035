"""A dataset as Markdown: the generated parts of a card that say what lies in the folder and how it was made."""

from __future__ import annotations

import json
from typing import Any

from shardforge.catalog.markdown import format_bytes, make_table
from shardforge.catalog.statistics import Statistics
from shardforge.dataset.layout import CATALOG, CLASSES, CROISSANT, MANIFEST, SIZES
from shardforge.dataset.manifest import Manifest
from shardforge.mapping import Mapping
from shardforge.reasons import MEANING, OK

_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WebP"}
_RESIZED = {
    "squash": "to {width} × {height} pixels, whatever their shape",
    "shortest": "so that the shorter side fits {width} × {height} pixels",
    "longest": "so that they fit into {width} × {height} pixels",
    "crop": "and cut to {width} × {height} pixels around the centre",
    "pad": "to fit {width} × {height} pixels, with a border where they do not fill them",
}
_FILES = (
    (MANIFEST, "the manifest: splits, shards, their lengths and SHA-256 checksums"),
    ("SPLIT/*.tar", "the shards"),
    (f"SPLIT/{SIZES}", "the number of samples in each shard, for open_clip"),
    ("index/SPLIT.parquet", "where each member of each sample lies"),
    (CATALOG, "one row a sample: split, shard, class, taxon, licence, author, source page, size"),
    (CROISSANT, "files, checksums and the catalog's columns in the Croissant format"),
)


def describe_dataset_parts(manifest: Manifest, found: Statistics) -> dict[str, str]:
    """Return the parts summary, structure, sources and processing of a card; `found` has the figures of the catalog."""
    return {
        "summary": _summarise(manifest, found),
        "structure": _describe_structure(manifest, found),
        "sources": _describe_sources(found),
        "processing": _describe_processing(manifest),
    }


def describe_mapping_parts(mapping: Mapping, manifest: Manifest) -> dict[str, str]:
    """Return the parts split and left_out, which only the mapping can tell."""
    dataset = str(manifest.path.parent.resolve())
    return {
        "split": _describe_split(mapping, manifest.ours["options"]["split_run"]),
        "left_out": _describe_left_out(mapping, dataset),
    }


def _summarise(manifest: Manifest, found: Statistics) -> str:
    images = sum(row["images"] for row in found["sources"])
    species = next(row["taxa"] for row in found["ranks"] if row["rank"] == "species")
    classes = manifest.ours["classes"]
    label = manifest.ours["options"]["label"]
    size = sum(shard.bytes or 0 for shard in manifest.shards)
    pieces = [
        f"{images:,} images",
        f" of {species:,} species" if species else "",
        f" in {classes['count']:,} classes (by {label.replace('_', ' ')})" if classes else "",
        f", in {len(manifest.shards):,} WebDataset shards of {format_bytes(size)} in all.",
    ]
    return "".join(pieces)


def _describe_structure(manifest: Manifest, found: Statistics) -> str:
    unlabelled = manifest.ours.get("unlabelled", {})
    pieces = [
        "A sample is one image and what belongs to it, files of one key in a tar:",
        make_table(("member", "holds"), [(f"`KEY.{name}`", _explain(name)) for name in manifest.ours["members"]]),
        make_table(("split", "samples", "classes", "shards", "size"), _count_splits(manifest, found)),
        *(f"{count:,} samples of `{split}` have no class." for split, count in unlabelled.items()),
        make_table(("file", "holds"), [(f"`{name}`", text) for name, text in _list_files(manifest)]),
    ]
    return "\n\n".join(pieces)


def _list_files(manifest: Manifest) -> list[tuple[str, str]]:
    classes = [(CLASSES, "one class a line; the line number, from 0, is the class in `.cls`")]
    return [*_FILES[:1], *(classes if manifest.ours["classes"] else []), *_FILES[1:]]


def _explain(member: str) -> str:
    known = {
        "cls": f"the number of the class, the line of `{CLASSES}` counted from 0",
        "json": "what is known of the image: source, taxon, licence, author, size before resizing",
        **{name: f"the image, {kind}" for name, kind in _FORMATS.items()},
    }
    return known.get(member, f"text: {member.removesuffix('.txt').replace('_', ' ')}")


def _count_splits(manifest: Manifest, found: Statistics) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for row in found["splits"]:
        shards = [shard for shard in manifest.shards if shard.split == row["split"]]
        size = format_bytes(sum(shard.bytes or 0 for shard in shards))
        rows.append((f"`{row['split']}`", row["samples"], row["classes"], len(shards), size))
    return rows


def _describe_sources(found: Statistics) -> str:
    return make_table(
        ("source", "images", "with a licence", "size before resizing"),
        [
            (row["source"], row["images"], row["with_license"], format_bytes(row["bytes"] or 0))
            for row in found["sources"]
        ],
    )


def _describe_processing(manifest: Manifest) -> str:
    options = manifest.ours["options"]
    conversion = options["conversion"]
    image = _FORMATS[conversion["format"]]
    quality = "" if conversion["format"] == "png" else f" at quality {conversion['quality']}"
    if conversion["size"] is None:
        resized = "The images keep their sizes"
    else:
        width, height = conversion["size"]
        resized = "The images are resized " + _RESIZED[conversion["resize"]].format(width=width, height=height)
        resized += " (smaller ones are enlarged)" if conversion["upscale"] else " (smaller ones are not enlarged)"
    kept = "; files that need no change are copied as they are" if conversion["passthrough"] else ""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(options["encoder"].items()))
    return (
        f"Made with shardforge {manifest.ours['version']}. {resized}, turned upright by their EXIF orientation, "
        f"converted to 8-bit RGB and stored as {image}{quality}{kept}. Samples stand in a seeded random order (seed "
        f"{options['seed']}). The shards are reproducible to the byte with the same libraries ({libraries}); the "
        f"digest of the plan is `{manifest.ours['plan_sha256']}`."
    )


def _describe_split(mapping: Mapping, run: str) -> str:
    [(seed, rule, stored)] = mapping.rows(
        "SELECT seed, rule, parameters FROM split_runs WHERE name = $name", name=run
    ) or [(None, None, "{}")]
    if rule is None:
        return f"The split run `{run}` is no longer in the mapping."
    parameters = {name: value for name, value in json.loads(stored).items() if value}
    lines = [f"- {name.replace('_', ' ')}: {_show_parameter(value)}" for name, value in parameters.items()]
    return "\n".join(
        [
            f"The splits follow from seed {seed} by the rule `{rule}`; images with the same bytes share a split.",
            *(["", *lines] if lines else []),
        ]
    )


def _show_parameter(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown}" for name, shown in value.items() if shown not in (None, "0", 0))
    return str(value)


def _describe_left_out(mapping: Mapping, dataset: str) -> str:
    outcomes = mapping.rows(
        "SELECT reason, count(*) FROM outcomes WHERE dataset = $dataset AND reason <> $ok GROUP BY reason "
        "ORDER BY count(*) DESC, reason",
        dataset=dataset,
        ok=OK,
    )
    if not outcomes:
        return "Nothing: all images that the sources list are in the dataset."
    rows = [(reason, images, MEANING.get(reason, "")) for reason, images in outcomes]
    pieces = [make_table(("reason", "images", "meaning"), rows)]
    if any(reason == "excluded" for reason, _ in outcomes):
        lists = mapping.rows(mapping.query("count_exclusions"))
        pieces.append(make_table(("exclusion list", "reason", "images"), [row[:3] for row in lists]))
    return "\n\n".join(pieces)
