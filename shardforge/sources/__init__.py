"""Where images come from: a source lists records, and knows neither databases nor pixels.

A kind of source is a class (see `shardforge.sources.base.Source`). Packages add kinds through the entry point group
`shardforge.sources`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path

from shardforge.errors import UsageError
from shardforge.paths import require_local
from shardforge.sources.base import Source, SourceSpec

__all__ = ["Source", "SourceSpec", "open_source", "parse_source", "parse_sources"]

GROUP = "shardforge.sources"

#: Loaded when asked for, so that reading one record does not import the readers of tables.
_BUILT_IN = {
    "bioscan": "shardforge.sources.bioscan:BioscanSource",
    "eol": "shardforge.sources.eol:EolSource",
    "folder": "shardforge.sources.folder:FolderSource",
    "inat21": "shardforge.sources.inat21:Inat21Source",
    "list": "shardforge.sources.list_file:ListSource",
    "openmmlab": "shardforge.sources.openmmlab:OpenMMLabSource",
    "table": "shardforge.sources.table:TableSource",
    "wds": "shardforge.sources.wds:WebDatasetSource",
}

_NAME = re.compile(r"[a-z0-9_-]+")
_EXAMPLE = "expected NAME=KIND:ROOT, for instance photos=folder:/data/photos"


def open_source(spec: SourceSpec) -> Source:
    """Return the source that `spec` describes.

    Raises:
        UsageError: the kind is unknown, or an option has a value that it cannot have.
    """
    return _load_kind(spec.kind)(spec)


def parse_sources(texts: Iterable[str], options: Iterable[str] = ()) -> list[SourceSpec]:
    """Return the specs for all `NAME=KIND:ROOT` texts, each with its share of the `NAME.KEY=VALUE` options.

    Raises:
        UsageError: a text has another form, a name occurs twice, or an option is of no source.
    """
    shares = _share_options(options)
    specs: dict[str, SourceSpec] = {}
    for text in texts:
        spec = parse_source(text, shares.pop(text.partition("=")[0], {}))
        if spec.name in specs:
            raise UsageError(f"--source {text}: the name {spec.name!r} is given twice; give each source its own name")
        specs[spec.name] = spec
    for name, share in shares.items():
        known = ", ".join(specs) or "none"
        raise UsageError(f"--option {name}.{next(iter(share))}: there is no source {name!r}; the sources are: {known}")
    return list(specs.values())


def parse_source(text: str, options: Mapping[str, str] | None = None) -> SourceSpec:
    """Return the spec for `NAME=KIND:ROOT` with this source's options.

    Raises:
        UsageError: the text has another form, the kind or an option is unknown, or there is nothing at ROOT.
    """
    options = dict(options or {})
    name, _, rest = text.partition("=")
    kind_name, _, location = rest.partition(":")
    if not (name and kind_name and location):
        raise UsageError(f"--source {text}: {_EXAMPLE}")
    if not _NAME.fullmatch(name):
        raise UsageError(f"--source {text}: the name {name!r} may only have a-z, 0-9, '_' and '-'; {_EXAMPLE}")
    require_local(location, f"source {name!r}")
    kind = _load_kind(kind_name)
    for option in options.keys() - kind.options.keys():
        known = "; ".join(f"{key}: {meaning}" for key, meaning in kind.options.items()) or "none"
        raise UsageError(f"--option {name}.{option}: kind {kind_name!r} has no such option; it has: {known}")
    try:
        root, file = kind.locate(Path(os.path.expanduser(location)).absolute(), options)
    except UsageError as error:
        raise UsageError(f"source {name!r}: {error}") from None
    return SourceSpec(name, kind_name, root, options, file)


def _share_options(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return source name -> its options."""
    shares: dict[str, dict[str, str]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        name, dot, option = target.partition(".")
        if not (name and dot and option and equals):
            raise UsageError(f"--option {text}: expected NAME.KEY=VALUE, for instance photos.label=parent")
        share = shares.setdefault(name, {})
        if option in share:
            raise UsageError(f"--option {text}: {target} is given twice; give it once")
        share[option] = value
    return shares


def _load_kind(name: str) -> type[Source]:
    if name in _BUILT_IN:
        module, _, built_in = _BUILT_IN[name].partition(":")
        kind: type[Source] = getattr(import_module(module), built_in)
        return kind
    return _load_added_kind(name)


def _load_added_kind(name: str) -> type[Source]:
    """Return a kind that another package offers."""
    from importlib.metadata import entry_points  # slow to import, and workers never ask

    added = {point.name: point for point in entry_points(group=GROUP)}
    if name not in added:
        raise UsageError(f"source kind {name!r} is not known; choose one of {', '.join(sorted({*_BUILT_IN, *added}))}")
    point = added[name]
    try:
        kind: type[Source] = point.load()
    except Exception as error:  # whatever someone else's module raises while it is imported
        package = point.dist.name if point.dist else "an unknown package"
        raise UsageError(
            f"source kind {name!r} ({point.value} of {package}) cannot be loaded: {type(error).__name__}: {error}; "
            "repair or remove that package"
        ) from error
    missing = [member for member in ("options", "locate", "list") if not hasattr(kind, member)]
    if missing:
        raise UsageError(f"source kind {name!r} ({point.value}) is no source: it has no {', no '.join(missing)}")
    return kind
