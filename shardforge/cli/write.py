"""`shardforge write`."""

from __future__ import annotations

import click


@click.command("write")
def write_command() -> None:
    """Placeholder."""
    raise NotImplementedError
