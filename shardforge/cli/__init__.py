"""The `shardforge` command: one file per command, each turns options into one library call and prints what came of it.

Libraries are imported inside the commands, so that `--help` loads neither duckdb, ray nor torch.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import click

from shardforge import __version__
from shardforge.cli.map import map_command
from shardforge.cli.split import split_command
from shardforge.cli.verify import verify_command
from shardforge.cli.write import write_command
from shardforge.errors import ShardforgeError

_INTERRUPTED = 130


class _Group(click.Group):
    """A group in which an error of the library is one line on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ShardforgeError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Interrupted: what is finished is kept; run the same command again to go on.", err=True)
            ctx.exit(_INTERRUPTED)
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(1)


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a time limit ends a run as Ctrl-C does


main.add_command(map_command)
main.add_command(split_command)
main.add_command(write_command)
main.add_command(verify_command)
