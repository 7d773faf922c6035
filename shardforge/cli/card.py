"""`shardforge card` and `shardforge catalog`."""

from __future__ import annotations

from pathlib import Path

import click

from shardforge.cli.options import LocalPath, json_option, print_json
from shardforge.progress import Progress


@click.command("catalog", short_help="Write catalog.parquet: one row for each sample.")
@click.argument("out", type=LocalPath(file_okay=False))
@json_option
def catalog_command(out: Path, as_json: bool) -> None:
    """Write OUT/catalog.parquet: one row a sample, with its place, class, taxon, licence, author and source.

    \b
    shardforge catalog shards
    """
    from shardforge.catalog.catalog import write_catalog
    from shardforge.dataset.layout import Layout

    with Progress(quiet=as_json) as progress:
        rows = write_catalog(out, progress=progress)
    path = Layout(out).catalog
    if as_json:
        print_json({"path": str(path), "rows": rows})
    else:
        click.echo(f"{path}: {rows:,} samples")


@click.command("card", short_help="Write the data card (README.md) that Hugging Face shows.")
@click.argument("out", type=LocalPath(file_okay=False))
@click.option(
    "--db",
    type=LocalPath(dir_okay=False),
    help="Mapping that OUT was written from: it knows how OUT was split and what was left out.",
)
@json_option
def card_command(out: Path, db: Path | None, as_json: bool) -> None:
    """Write OUT/README.md, the data card that Hugging Face shows, or renew the numbers in it.

    What stands between two shardforge markers is made anew, the rest is yours. A README.md without markers is never
    changed. With the card in place, `datasets.load_dataset("OUT")` works. Beside it come OUT/catalog.parquet (one row a
    sample) and OUT/croissant.json (files and checksums for programs).

    \b
    shardforge card shards --db mapping.duckdb
    """
    from shardforge.catalog.card import write_card

    with Progress(quiet=as_json) as progress:
        report = write_card(out, db, progress=progress)
    if as_json:
        print_json(
            {
                "path": str(report.path),
                "changed": bool(report.written),
                "written": list(map(str, report.written)),
                "parts": report.parts,
                "left": report.left,
                "unknown": report.unknown,
            }
        )
        return
    for path in report.written:
        click.echo(f"{path}: written")
    if not report.written:
        click.echo(f"{report.path}: nothing has changed")
    if report.left:
        click.echo(f"Left as they are: {', '.join(report.left)}; with --db they are renewed", err=True)
    if report.unknown:
        click.echo(
            f"Warning: {report.path}: no part of a card is called {' or '.join(report.unknown)}; what stands between "
            "these markers stays as it is",
            err=True,
        )
    if "front_matter" not in report.parts:
        click.echo(
            f"Warning: the front matter of {report.path} has no markers and stays as it is; move the file away to have "
            "a new one made",
            err=True,
        )
