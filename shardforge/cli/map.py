"""`shardforge map`."""

from __future__ import annotations

import click


@click.command("map")
def map_command() -> None:
    """Placeholder."""
    raise NotImplementedError
