"""A dataset as Markdown: the generated parts of a card that say what lies in the folder and how it was made."""

from __future__ import annotations

from shardforge.catalog.markdown import format_bytes, make_table
from shardforge.catalog.statistics import Statistics
from shardforge.dataset.layout import CATALOG, CLASSES, CROISSANT, MANIFEST, SIZES
from shardforge.dataset.manifest import Manifest
from shardforge.splits.request import HELD_OUT, PRETRAIN
from shardforge.taxonomy.text import FIELDS, TEXTS, text_extension

_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WebP"}
_RESIZED = {
    "squash": "to {width} × {height} pixels, whatever their shape",
    "shortest": "so that the shorter side fits {width} × {height} pixels",
    "longest": "so that they fit into {width} × {height} pixels",
    "crop": "and cut to {width} × {height} pixels around the centre",
    "pad": "to fit {width} × {height} pixels, with a border where they do not fill them",
}
#: What a split is whose name does not say it.
_SPLITS = {
    "validation_unseen": "images of taxa that training never sees, for validation",
    "test_unseen": "images of taxa that training never sees, for test",
    "key_unseen": "images of taxa that training never sees, set aside as the known ones in retrieval",
    "other_heldout": "images whose groups hold taxa of several of these splits: for none of them",
    PRETRAIN: "images for pre-training only, written without a class",
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
    members = manifest.ours["members"]
    texts = _list_texts(manifest)
    pieces = [
        f"The shards are in the WebDataset format, which {_list_readers(members)} read as it is. A sample is one image "
        "and what belongs to it, files of one key in a tar:",
        make_table(("member", "holds"), [(f"`KEY.{name}`", _explain(name, texts)) for name in members]),
        make_table(("split", "samples", "classes", "shards", "size"), _count_splits(manifest, found)),
        "\n".join(f"- `{split}`: {meaning}" for split, meaning in _explain_splits(manifest)),
        *(f"{count:,} samples of `{split}` have no class." for split, count in unlabelled.items()),
        make_table(("file", "holds"), [(f"`{name}`", text) for name, text in _list_files(manifest)]),
    ]
    return "\n\n".join(filter(None, pieces))


def _list_readers(members: list[str]) -> str:
    """Return the libraries that can train on these members."""
    readers = ["webdataset", *(["timm", "birder"] if "cls" in members else []), *["open_clip"] * ("txt" in members)]
    return " and ".join(filter(None, (", ".join(readers[:-1]), readers[-1]))) if readers[1:] else "webdataset and wids"


def _list_texts(manifest: Manifest) -> dict[str, str]:
    """Return the members with a text about the taxon, and the kind of each."""
    options = manifest.ours["options"]
    caption = {"txt": options["caption"]} if options.get("caption") else {}
    return caption | {text_extension(kind): kind for kind in options.get("texts", ())}


def _explain_splits(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the splits of a dataset whose names do not say what they are."""
    splits = dict.fromkeys(shard.split for shard in manifest.shards)
    meanings = {split: _SPLITS.get(split, "part of train") for split in splits if split not in ("train", *HELD_OUT)}
    return list(meanings.items())


def _list_files(manifest: Manifest) -> list[tuple[str, str]]:
    classes = [(CLASSES, "one class a line; the line number, from 0, is the class in `.cls`")]
    return [*_FILES[:1], *(classes if manifest.ours["classes"] else []), *_FILES[1:]]


def _explain(member: str, texts: dict[str, str]) -> str:
    known = {
        "cls": f"the number of the class, the line of `{CLASSES}` counted from 0",
        "json": "what is known of the image: source, taxon, licence, author, size before resizing",
        **{name: f"the image, {kind}" for name, kind in _FORMATS.items()},
        **{name: f"text: {_spell_text(kind)}" for name, kind in texts.items()},
    }
    return known.get(member, f"text: {member.removesuffix('.txt').replace('_', ' ')}")


def _spell_text(kind: str) -> str:
    """Return the template of a kind of text with what stands in its fields, in brackets."""
    return TEXTS[kind].format_map({field: f"[{meaning}]" for field, meaning in FIELDS.items()})


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
