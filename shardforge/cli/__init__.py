"""The `shardforge` command: one file per command, each turns options into one library call and prints what came of it.

Libraries are imported inside the commands, so that `--help` loads neither duckdb, ray nor torch.
"""

from __future__ import annotations

from typing import Any

import click

from shardforge import __version__
from shardforge.cli.bench_loader import bench_loader_command
from shardforge.cli.card import card_command, catalog_command
from shardforge.cli.duplicates import duplicates_command
from shardforge.cli.index import index_command
from shardforge.cli.leaks import leaks_command
from shardforge.cli.map import map_command
from shardforge.cli.split import split_command
from shardforge.cli.sql import sql_command
from shardforge.cli.stats import stats_command
from shardforge.cli.verify import verify_command
from shardforge.cli.write import write_command
from shardforge.endings import one_line_errors


class _Group(click.Group):
    """A group in which all that goes wrong is one line on stderr and an exit status."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with one_line_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors():
            return super().invoke(ctx)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="shardforge")
def main() -> None:
    """Turn folders of images into verified WebDataset shards, reproducible to the byte.

    \b
    shardforge map    --db mapping.duckdb --source photos=folder:/data/photos
    shardforge split  --db mapping.duckdb --seed 17 --val-split 5
    shardforge write  --db mapping.duckdb --out shards --size 224
    shardforge verify shards/_info.json

    Results go to stdout, progress to stderr. Exit status: 0 good, 1 the work found problems, 2 wrong usage.
    """


main.add_command(map_command)
main.add_command(split_command)
main.add_command(write_command)
main.add_command(verify_command)
main.add_command(stats_command)
main.add_command(sql_command)
main.add_command(catalog_command)
main.add_command(card_command)
main.add_command(index_command)
main.add_command(bench_loader_command)
main.add_command(duplicates_command)
main.add_command(leaks_command)
