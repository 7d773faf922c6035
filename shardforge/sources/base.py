"""What a source is: a name, a kind, the folder that its paths are relative to, and a listing in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from shardforge.errors import UsageError
from shardforge.paths import require_local

if TYPE_CHECKING:
    import pyarrow as pa

    from shardforge.samples import Note


@dataclass(frozen=True)
class SourceSpec:
    """A source as the user asked for it.

    Attributes:
        name: The user's name for the source; part of every key.
        kind: The name of the kind, for instance "folder".
        root: The folder that the paths of the records are relative to, absolute, symbolic links kept.
        options: What was given by `--option NAME.KEY=VALUE`.
        file: The list, table, annotation file, tar or braced pattern that was named instead of a folder.
    """

    name: str
    kind: str
    root: Path
    options: dict[str, str] = field(default_factory=dict)
    file: Path | None = None


class Source(Protocol):
    """A kind of source: a class with these members, made with the spec as its only argument."""

    #: The kind's options: name -> one line about it.
    options: ClassVar[Mapping[str, str]]

    spec: SourceSpec

    def __init__(self, spec: SourceSpec) -> None: ...

    @staticmethod
    def locate(location: Path, options: Mapping[str, str]) -> tuple[Path, Path | None]:
        """Return `SourceSpec.root` and `SourceSpec.file` for what the user named, an absolute path.

        Raises:
            UsageError: nothing of that kind is there.
        """
        ...

    def list(self) -> Iterator[pa.Table]:
        """Yield the records as tables of `shardforge.records.listing_schema()`, always in the same order.

        A table has at most 65,536 rows. Whatever was met and cannot be used has a row with a reason. A path that occurs
        twice is found by the mapping, not here.

        Raises:
            SourceError: the source contradicts itself or cannot be read.
        """
        ...


def notes_of(source: Source) -> tuple[Note, ...]:
    """Return what a source has to say about all that it listed: `notes` (`shardforge.samples.SampleNotes`), if any."""
    notes = getattr(source, "notes", None)
    return tuple(notes.tell()) if notes is not None else ()


def locate_folder(location: Path, options: Mapping[str, str]) -> tuple[Path, Path | None]:
    """Return the root of a source that is a folder."""
    if not location.is_dir():
        problem = "is not a folder" if location.exists() else "does not exist"
        raise UsageError(f"{location} {problem}; name the folder that holds the images")
    return location, None


def locate_file(location: Path, options: Mapping[str, str]) -> tuple[Path, Path | None]:
    """Return the root of a source that is a file naming images: its folder, or from there what option `root` says."""
    if not location.is_file():
        problem = "is not a file" if location.exists() else "does not exist"
        raise UsageError(f"{location} {problem}; name the file that lists the images")
    if "root" not in options:
        return location.parent, location
    require_local(options["root"], "option root")
    root = location.parent / options["root"]
    if not root.is_dir():
        raise UsageError(
            f"option root: {root} is not a folder; name the folder that the paths in {location} start from"
        )
    return root, location


def choose(spec: SourceSpec, option: str, choices: Sequence[str], default: str) -> str:
    """Return the value of an option that has a closed set of values.

    Raises:
        UsageError: another value was given.
    """
    value = spec.options.get(option, default)
    if value not in choices:
        raise UsageError(
            f"source {spec.name!r}: option {option}={value} is not known; choose one of {', '.join(choices)}"
        )
    return value


def split_option(spec: SourceSpec, option: str) -> tuple[str, ...]:
    """Return the values of an option that takes several by comma; none when it is not given."""
    return tuple(value.strip() for value in spec.options.get(option, "").split(",") if value.strip())


def find_option_files(spec: SourceSpec, option: str) -> tuple[Path, ...]:
    """Return the files that an option names, by comma and from the root; `*` stands for any text.

    Raises:
        UsageError: there is no such file.
    """
    files: list[Path] = []
    for name in split_option(spec, option):
        folder, pattern = os.path.split(spec.root / name)
        found = sorted(path for path in Path(folder).glob(pattern) if path.is_file())
        if not found:
            raise UsageError(
                f"source {spec.name!r}: option {option}: {spec.root / name} is not a file; name it from {spec.root}"
            )
        files += found
    return tuple(files)
