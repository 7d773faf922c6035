"""Write docs/commands.md from the commands' own help, or check that it is up to date.

usage: python scripts/make_reference.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from shardforge.cli import main

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
HEAD = "# Commands\n\nGenerated from `shardforge COMMAND --help` by `make docs`.\n"


def render() -> str:
    """Return the page: the help of the group, then that of each command."""
    parts = [HEAD, _section("shardforge", main, click.Context(main, info_name="shardforge", max_content_width=100))]
    for name in main.commands:
        context = click.Context(main.commands[name], info_name=f"shardforge {name}", max_content_width=100)
        parts.append(_section(f"shardforge {name}", main.commands[name], context))
    return "\n".join(parts)


def _section(title: str, command: click.Command, context: click.Context) -> str:
    context.help_option_names = ["-h", "--help"]
    context.terminal_width = 100
    return f"## {title}\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    page = render()
    if "--check" in sys.argv[1:]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
            sys.exit(f"{PAGE.name} is not what --help says: run `make docs`")
    else:
        PAGE.write_text(page, encoding="utf-8")
