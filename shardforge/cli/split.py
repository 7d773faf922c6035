"""`shardforge split`."""

from __future__ import annotations

import click


@click.command("split")
def split_command() -> None:
    """Placeholder."""
    raise NotImplementedError
