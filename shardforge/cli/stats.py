"""`shardforge stats`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardforge.cli.options import LocalPath, db_option, json_option, print_json, print_table
from shardforge.errors import UsageError
from shardforge.paths import require_local
from shardforge.progress import Progress

if TYPE_CHECKING:
    from shardforge.mapping import Mapping

#: Each section on the terminal: title, figure, columns; the statements in `sql/` say what a column counts.
_SECTIONS = (
    ("Sources", "sources", ("source", "kind", "images", "usable", "labels", "with_license", "bytes")),
    ("Not usable", "reasons", ("source", "reason", "images")),
    ("Excluded", "exclusions", ("list", "reason", "images")),
    ("Splits", "splits", ("name", "split", "images", "percent", "classes", "groups")),
    ("Datasets", "datasets", ("name", "split", "shards", "samples", "bytes")),
    ("Outcomes", "outcomes", ("name", "reason", "images")),
    ("Ranks", "ranks", ("rank", "images", "percent", "taxa", "lowest_known", "gaps")),
    ("Ranks missing above the lowest known one", "rank_gaps", ("missing", "images", "lineages", "example")),
    (
        "Kingdoms",
        "kingdoms",
        ("kingdom", "images", "percent", "phyla", "classes", "orders", "families", "genera", "named_species"),
    ),
    ("Class sizes", "class_sizes", ("class_size", "classes", "images", "percent_up_to_here")),
    (
        "Licences",
        "licences",
        ("licence", "images", "percent", "redistribution", "commercial", "derivatives", "without_author"),
    ),
    ("Shorter side in pixels", "shorter_sides", ("shorter_side", "images", "percent", "bytes")),
    ("Width to height", "aspects", ("aspect", "images", "percent")),
    ("Formats", "formats", ("format", "images", "percent", "bytes")),
)
_HEADERS = {
    "named_species": "species",
    "redistribution": "copies",
    "derivatives": "changes",
    "without_author": "no author",
    "with_license": "with licence",
}
_MOST_ROWS = 20


@click.command("stats", short_help="Count images by source, split, rank, licence and size.")
@db_option
@click.option("--split-run", metavar="NAME", help="Count the splits of this run only. [default: of every run]")
@click.option("--dataset", metavar="NAME|OUT", help="Count only what this dataset holds. [default: all that is mapped]")
@click.option(
    "--plot",
    type=LocalPath(dir_okay=False),
    help="Draw the long tail (classes by size) as a PNG.",
)
@json_option
def stats_command(db: Path, split_run: str | None, dataset: str | None, plot: Path | None, as_json: bool) -> None:
    """Print what a mapping holds: sources, splits, ranks and gaps, class sizes, licences, sizes, what is left out.

    \b
    shardforge stats --db mapping.duckdb
    shardforge stats --db mapping.duckdb --dataset shards --plot long_tail.png

    All figures come from the statements in sql/, which `shardforge sql` runs one by one.
    """
    from shardforge.catalog.statistics import OF_IMAGES, OF_MAPPING, collect_statistics, limit_to_dataset
    from shardforge.mapping import open_mapping

    if split_run is not None and dataset is not None:
        raise click.UsageError("--dataset has the splits that were written: give it without --split-run.")
    if plot is not None and plot.suffix.lower() != ".png":
        raise click.UsageError(f"--plot {plot}: is drawn as a PNG; give it a name that ends in .png.")
    if dataset is not None:
        require_local(dataset, "--dataset")
    figures = {**OF_IMAGES, **OF_MAPPING}
    folder = None
    with open_mapping(db) as mapping, Progress(quiet=as_json) as progress:
        if split_run is not None:
            _require_run(mapping, split_run)
        if dataset is not None:
            folder = limit_to_dataset(mapping, dataset)
            del figures["splits"]  # the runs are about the whole mapping
        found = collect_statistics(mapping, figures, progress=progress)
        if plot is not None:
            _draw(mapping, plot, "classes" if dataset else "classes (label, or else species)")
    if split_run is not None:
        found["splits"] = [row for row in found["splits"] if row["name"] == split_run]
    if folder is not None:
        for figure in ("datasets", "outcomes"):
            found[figure] = [row for row in found[figure] if row["out"] == folder]
    if as_json:
        print_json({"db": str(db), "dataset": folder, **found})
    else:
        _print(found, folder or str(db))
    if plot is not None:
        click.echo(f"{plot}: written", err=True)


def _require_run(mapping: Mapping, name: str) -> None:
    from shardforge.dataset.options import missing_run

    if not mapping.rows("SELECT 1 FROM split_runs WHERE name = $name", name=name):
        raise missing_run(mapping, name)


def _draw(mapping: Mapping, place: Path, classes: str) -> None:
    from shardforge.catalog.plot import draw_long_tail

    curve = mapping.rows(mapping.query("count_class_sizes"))
    if not curve:
        raise UsageError(f"--plot {place}: no usable image has a class, so there is no curve")
    draw_long_tail(curve, place, title=f"{sum(count for _, count in curve):,} {classes}")


def _print(found: dict[str, list[dict[str, Any]]], about: str) -> None:
    usable = sum(row["images"] for row in found["reasons"] if row["reason"] is None)
    mapped = sum(row["images"] for row in found["reasons"])
    click.echo(f"{about}: {mapped:,} images, {usable:,} of them usable")
    found = {**found, "reasons": [row for row in found["reasons"] if row["reason"] is not None]}
    for title, figure, columns in _SECTIONS:
        rows = found.get(figure, [])
        if not rows:
            continue
        click.echo(f"\n{click.style(title, bold=True)}")
        print_table(
            [_HEADERS.get(column, column.replace("_", " ")) for column in columns],
            [[_show(row, column) for column in columns] for row in rows[:_MOST_ROWS]],
        )
        if len(rows) > _MOST_ROWS:
            click.echo(f"… and {len(rows) - _MOST_ROWS:,} more rows: --json has all")
        if figure == "class_sizes":
            click.echo(_describe_balance(found["balance"][0]))


def _show(row: dict[str, Any], column: str) -> object:
    """Return a value as the terminal shows it."""
    from shardforge.catalog.describe import name_licence
    from shardforge.catalog.markdown import format_bytes

    value: Any = name_licence(row) if column == "licence" else row[column]
    if column == "bytes":
        return "" if value is None else format_bytes(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return round(value, 1)
    if value is None:
        return "(unknown)" if column == next(iter(row)) else ""
    return value


def _describe_balance(balance: dict[str, Any]) -> str:
    return (
        f"{balance['classes']:,} classes. Images in one: smallest {balance['smallest']:,}, median "
        f"{balance['median']:,}, nine tenths at most {balance['nine_tenths']:,}, largest {balance['largest']:,}.\n"
        f"Fewer than 5 images: {balance['percent_below_5']:.1f}% of the classes; fewer than 10: "
        f"{balance['percent_below_10']:.1f}%; fewer than 50: {balance['percent_below_50']:.1f}%.\n"
        f"The largest tenth of the classes holds {balance['percent_in_largest_tenth']:.1f}% of the images; "
        f"Gini coefficient {balance['gini']:.2f}."
    )
