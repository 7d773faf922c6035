"""`shardforge write`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardforge.cli.options import LocalPath, db_option, executor_options, json_option, print_json, print_table
from shardforge.cli.write_report import print_report
from shardforge.dataset.budget import Budget
from shardforge.dataset.layout import MANIFEST
from shardforge.progress import Progress

if TYPE_CHECKING:
    from shardforge.dataset.options import WriteOptions

_MOST_BYTES = 1 << 62
_SIZE_UNITS = {"": 1, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000, "T": 1_000_000_000_000}


def _read_bytes(context: click.Context, option: click.Parameter, value: str) -> int:
    """Read a number of bytes such as 500MB or 2G, in powers of 1,000."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", value.strip(), re.IGNORECASE)
    number = float(match[1]) * _SIZE_UNITS[match[2].upper()] if match else 0
    if not 1 <= number <= _MOST_BYTES:
        raise click.BadParameter(f"{value!r} is not a size; expected for instance 500MB or 2G", context, option)
    return int(number)


def _read_pixels(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read N for a square, or WxH."""
    if value is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})(?:[xX]([1-9]\d{0,4}))?", value.strip())
    if match is None:
        raise click.BadParameter(
            f"{value!r} is not a size in pixels; expected for instance 224 or 320x240", context, option
        )
    return int(match[1]), int(match[2] or match[1])


def _read_budget(context: click.Context, option: click.Parameter, value: str) -> Budget:
    """Read a share such as 1%, or a number of images."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", value.strip())
    if match is None or (match[2] and float(match[1]) > 100) or (not match[2] and "." in match[1]):
        raise click.BadParameter(
            f"{value!r} is neither a share nor a number; expected for instance 1% or 500", context, option
        )
    return Budget(share=float(match[1]) / 100) if match[2] else Budget(share=None, count=int(match[1]))


@click.command("write", short_help="Write the splits as WebDataset shards with a manifest.")
@db_option
@click.option("--out", required=True, type=LocalPath(file_okay=False), help="Folder of the dataset.")
@click.option("--name", help="Name in the shards' file names. [default: that of the folder]")
@click.option(
    "--size", metavar="N|WxH", callback=_read_pixels, help="Target in pixels. [default: keep the images' own sizes]"
)
@click.option(
    "--resize",
    type=click.Choice(["squash", "shortest", "longest", "crop", "pad", "none"]),
    default=None,
    help="How an image is brought to --size. [default: squash with --size, else none]",
)
@click.option("--upscale", is_flag=True, help="Enlarge images that are smaller than --size, too.")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["jpg", "png", "webp"]),
    default="jpg",
    show_default=True,
    help="Of the written images; jpg is baseline 4:2:0.",
)
@click.option("--quality", type=click.IntRange(1, 100), default=90, show_default=True, help="Of JPEG and WebP.")
@click.option("--passthrough", is_flag=True, help="Copy the bytes of images that need no change.")
@click.option(
    "--max-pixels", type=click.IntRange(min=1), default=200_000_000, show_default=True, help="Refuse larger images."
)
@click.option(
    "--codec",
    type=click.Choice(["auto", "fast", "pillow"]),
    default="auto",
    show_default=True,
    help="fast: simplejpeg and a vectorised resize; pillow: Pillow alone. Recorded in the manifest.",
)
@click.option(
    "--label",
    help="Column that becomes the class, for instance genus; none for no classes. [default: label, if any has one]",
)
@click.option(
    "--unlabelled",
    type=click.Choice(["leave-out", "keep", "pretrain"]),
    default="leave-out",
    show_default=True,
    help="Images without a class: keep writes them without .cls, pretrain puts those of train into a split pretrain.",
)
@click.option(
    "--members",
    help="What follows the image: cls, json, COLUMN.txt; or none. [default: cls,json, or json without classes]",
)
@click.option(
    "--text", help="Texts about the taxon, by commas: sci, com, taxon_com, … (docs/names.md), each as KIND.txt; or all."
)
@click.option("--caption", metavar="KIND", help="The same kind of text also as KEY.txt, which open_clip trains on.")
@click.option("--split-run", default="default", show_default=True, help="Split run to write (its --name).")
@click.option("--splits", help="Splits or subsets to write, by commas. [default: all splits of the run]")
@click.option("--seed", type=int, default=None, help="Of the order inside each split. [default: that of the split run]")
@click.option(
    "--shard-samples", type=click.IntRange(min=1), default=10_000, show_default=True, help="Most samples in a shard."
)
@click.option(
    "--shard-bytes",
    metavar="BYTES",
    callback=_read_bytes,
    default="1G",
    show_default=True,
    help="Most bytes in a shard, about.",
)
@click.option(
    "--shards", "part", help="Write only shards A-B (over all splits, from 0) or part I/N, without a manifest."
)
@click.option("--replace", is_flag=True, help="Rebuild what --out holds; shards that stay the same are kept.")
@click.option("--retry-bad", is_flag=True, help="Write finished shards again that miss images.")
@click.option(
    "--max-bad",
    metavar="N|N%",
    callback=_read_budget,
    default="1%",
    help="Stop when more images are bad: a share (which never stops for fewer than 10) or a number. [default: 1%]",
)
@executor_options
@json_option
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
def write_command(
    db: Path,
    out: Path,
    part: str | None,
    replace: bool,
    retry_bad: bool,
    max_bad: Budget,
    executor: str,
    workers: int | None,
    ray_address: str | None,
    as_json: bool,
    dry_run: bool,
    **choices: Any,
) -> None:
    """Write the split images of DB as WebDataset shards with a manifest into OUT, or go on where a run stopped.

    \b
    shardforge write --db mapping.duckdb --out shards --size 224 --label species
    """
    from shardforge.executors import open_executor

    if replace and part is not None:
        raise click.UsageError("--replace with --shards would change the plan under other parts: replace in one run.")
    if dry_run:
        _print_plan(db, _read_options(db, out, choices), as_json=as_json)
        return
    preload = ("shardforge.dataset.shard",)
    with (
        Progress(quiet=as_json) as progress,
        open_executor(executor, workers, preload=preload, address=ray_address) as pool,
    ):
        from shardforge.dataset.write import write_dataset  # while the workers start

        options = _read_options(db, out, choices)
        if choices["codec"] == "auto":
            _tell_slow_codec(options.conversion.codec)
        report = write_dataset(
            db, out, options, pool, part=part, replace=replace, retry_bad=retry_bad, budget=max_bad, progress=progress
        )
        if report.complete:
            _index_splits(out, progress)
    print_report(out, report, part, as_json=as_json)


def _tell_slow_codec(codec: str) -> None:
    from shardforge.images.convert import find_missing_library

    if codec == "pillow":
        click.echo(
            f"Note: Pillow converts the images, which takes about twice the time: {find_missing_library()}; "
            "--codec pillow says that this is meant",
            err=True,
        )


def _index_splits(out: Path, progress: Progress) -> None:
    """Make the index that training maps, so that it opens at once where nothing can be written, too."""
    from shardforge.dataset.manifest import read_manifest
    from shardforge.loader.index import open_index
    from shardforge.loader.inputs import open_all_inputs

    splits = list(dict.fromkeys(shard.split for shard in read_manifest(out / MANIFEST).shards if shard.samples))
    for shards in open_all_inputs([out] * len(splits), splits=splits):
        open_index([shards], progress=progress)


def _read_options(db: Path, out: Path, choices: dict[str, Any]) -> WriteOptions:
    from shardforge.dataset.options import WriteOptions, default_label, default_seed
    from shardforge.images.convert import Conversion, choose_codec, codec_versions
    from shardforge.mapping import open_mapping

    size, resize = _read_geometry(choices["size"], choices["resize"], choices["upscale"])
    codec = choose_codec(choices["codec"])
    run = choices["split_run"]
    with open_mapping(db) as mapping:
        label = default_label(mapping) if choices["label"] is None else choices["label"]
        seed = default_seed(mapping, run) if choices["seed"] is None else choices["seed"]
    label = None if label == "none" else label
    return WriteOptions(
        name=choices["name"] or re.sub(r"[^A-Za-z0-9_-]+", "-", out.resolve().name).strip("-") or "dataset",
        conversion=Conversion(
            size=size,
            resize=resize,
            upscale=choices["upscale"],
            format=choices["image_format"],
            quality=choices["quality"],
            max_pixels=choices["max_pixels"],
            passthrough=choices["passthrough"],
            codec=codec,
        ),
        splits=() if choices["splits"] is None else _read_list("--splits", choices["splits"]),
        split_run=run,
        seed=seed,
        label=label,
        unlabelled=choices["unlabelled"],
        members=_read_members(choices["members"], label),
        caption=choices["caption"],
        texts=_read_texts(choices["text"]),
        shard_samples=choices["shard_samples"],
        shard_bytes=choices["shard_bytes"],
        encoder=codec_versions(codec),
    )


def _read_geometry(
    size: tuple[int, int] | None, resize: str | None, upscale: bool
) -> tuple[tuple[int, int] | None, str]:
    if size is None and resize not in (None, "none"):
        raise click.UsageError(f"--resize {resize} needs a --size.")
    if size is not None and resize == "none":
        raise click.UsageError("--resize none contradicts --size: leave one of them out.")
    if size is None and upscale:
        raise click.UsageError("--upscale needs a --size.")
    return size, resize or ("none" if size is None else "squash")


def _read_list(option: str, text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise click.UsageError(f"{option} {text!r} names nothing; give names by commas, or leave it out.")
    return names


def _read_members(text: str | None, label: str | None) -> tuple[str, ...]:
    if text is None:
        return ("cls", "json") if label else ("json",)
    return () if text == "none" else _read_list("--members", text)


def _read_texts(text: str | None) -> tuple[str, ...]:
    from shardforge.taxonomy.text import TEXTS

    if text is None:
        return ()
    texts = tuple(TEXTS) if text == "all" else _read_list("--text", text)
    if "all" in texts:
        raise click.UsageError(f"--text {text}: all stands for every kind: give it alone.")
    return texts


def _print_plan(db: Path, options: WriteOptions, *, as_json: bool) -> None:
    import tempfile

    from shardforge.dataset.planning import write_plan
    from shardforge.mapping import open_mapping

    with tempfile.TemporaryDirectory() as scratch, open_mapping(db) as mapping:
        plan = write_plan(mapping, options, Path(scratch) / "plan.parquet")
    shards = [{"path": shard.path, "samples": shard.samples} for shard in plan.shards]
    if as_json:
        print_json({"plan_sha256": plan.sha256, "options": options.to_json(), "shards": shards})
        return
    print_table(["shard", "samples"], [list(shard.values()) for shard in shards])
    click.echo("Dry run: nothing was written.", err=True)
