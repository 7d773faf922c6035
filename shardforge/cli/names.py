"""`shardforge map`: the options of names, and the report of what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from shardforge.cli.options import LocalPath, count_of, print_table
from shardforge.errors import UsageError

if TYPE_CHECKING:
    from shardforge.sources.names import Naming
    from shardforge.taxonomy.names import NamesChoice

Command = TypeVar("Command", bound=Callable[..., Any])

_EXAMPLES = 3
#: The most names of a kind that `--json` lists, the most frequent first.
_LISTED = 1_000


def names_options(command: Command) -> Command:
    """Add `--names`, `--language`, `--label-is-name` and `--names-cache`."""
    for option in (
        click.option(
            "--names-cache",
            type=LocalPath(file_okay=False),
            help="Folder that keeps parsed files of names. [default: $SHARDFORGE_CACHE, else that of the user]",
        ),
        click.option(
            "--label-is-name/--no-label-is-name",
            default=None,
            help="Take the label as the scientific name where no rank is known. [default: as before, else no]",
        ),
        click.option(
            "--language", help="Of common names, for instance en, deu or French. [default: as before, else en]"
        ),
        click.option(
            "--names",
            multiple=True,
            metavar="KIND:PATH",
            help="File of names that fills in ranks and common names; kinds are eol, gbif, dwca, ncbi and table. "
            "Repeatable, the first that knows a name decides; remembered for later scans; none ends that.",
        ),
    ):
        command = option(command)
    return command


def read_names(texts: tuple[str, ...], language: str | None, label_is_name: bool | None) -> NamesChoice | None:
    """Return what the options choose, None where none was given."""
    from shardforge.taxonomy.languages import is_language
    from shardforge.taxonomy.names import NamesChoice, parse_names_file

    if language is not None and not is_language(language):
        raise UsageError(f"--language {language}: no such language; expected one such as en, deu or French")
    if not texts:
        if language is not None or label_is_name is not None:
            raise UsageError("--language and --label-is-name need --names KIND:PATH; give the files again, too")
        return None
    if texts == ("none",):
        return NamesChoice(())
    if "none" in texts:
        raise UsageError("--names none: forgets the files of names, so it must stand alone; leave it or the others out")
    return NamesChoice(tuple(map(parse_names_file, texts)), language, label_is_name)


def names_to_json(naming: Naming) -> dict[str, Any]:
    """Return counts of records and of names, and the names that a user may want to look at, as JSON can hold them."""
    return {
        "images": {status.name.lower(): naming.images[status] for status in naming.images},
        "distinct": {status.name.lower(): len(names) for status, names in naming.names.items()},
        "names": {status.name.lower(): dict(names.most_common(_LISTED)) for status, names in naming.names.items()},
        "common_names": naming.common_names,
        "kept_common_names": naming.kept_common_names,
    }


def print_names(namings: Mapping[str, Naming]) -> None:
    """Print for each source what became of its names, with examples."""
    from shardforge.taxonomy.search import MEANING

    for source, naming in namings.items():
        rows: list[list[object]] = []
        for status, meaning in MEANING.items():
            names = naming.names.get(status, Counter())
            if naming.images[status]:
                rows.append([status.name.lower(), naming.images[status], len(names) or None, meaning, _examples(names)])
        if rows and naming.knows_ranks:
            click.echo()
            print_table([f"names of {source}", "images", "names", "meaning", "for instance"], rows)
        _print_common_names(source, naming)


def _print_common_names(source: str, naming: Naming) -> None:
    from shardforge.taxonomy.search import Status

    parts = [f"{count_of(naming.common_names, 'image', 'images')} got a common name"]
    if naming.kept_common_names:
        parts.append(f"{naming.kept_common_names:,} keep that of the source, in whatever language it is")
    if not naming.knows_ranks:
        parts.append("the files of names have no ranks above their names, so they give common names only")
    if naming.images[Status.UNNAMED] == naming.images.total():
        parts.append("no image has a name to look up: see the source's options, --metadata and --label-is-name")
    click.echo(f"{source}: {'; '.join(parts)}", err=True)


def _examples(names: Mapping[str, int]) -> str:
    shown = sorted(names, key=lambda name: (-names[name], name))[:_EXAMPLES]
    return "; ".join(shown)
