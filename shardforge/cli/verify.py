"""`shardforge verify`."""

from __future__ import annotations

import click


@click.command("verify")
def verify_command() -> None:
    """Placeholder."""
    raise NotImplementedError
