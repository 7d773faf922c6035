"""What a user chooses when writing a dataset, and what of it decides the bytes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from shardforge.dataset.defaults import default_of
from shardforge.errors import DatasetError, UsageError
from shardforge.images.convert import Conversion, choose_codec, codec_versions
from shardforge.mapping import Mapping
from shardforge.records import RANKS
from shardforge.splits.request import PRETRAIN
from shardforge.taxonomy.text import TEXTS, text_extension

#: Columns that can be the label or a text member.
TEXT_COLUMNS = ("label", "group_id", *RANKS, "common_name", "license", "author", "url", "path", "source")
#: What may become of records without a class.
UNLABELLED = ("leave-out", "keep", "pretrain")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
#: The options of 0.1.0, whose plans and digests hold them all; later ones stand there where they are asked for.
_FIRST = (
    *("name", "conversion", "splits", "split_run", "seed", "label", "unlabelled", "members", "caption", "texts"),
    *("shard_samples", "shard_bytes", "encoder"),
)
_FIRST_OF_CONVERSION = ("size", "resize", "upscale", "format", "quality", "max_pixels", "passthrough", "codec")
_MOST_LETTERS = 100


@dataclass(frozen=True)
class WriteOptions:
    """The options of `shardforge write` that decide what the shards hold.

    `splits` are names of splits or of subsets of one split run (empty: all its splits); `label` is a column or None for
    a dataset without labels; `members` follow the image in each sample: "cls", "json" or "COLUMN.txt"; then `caption`
    as "txt" and `texts`, kinds of `shardforge.taxonomy.text`, each as its own member. `unlabelled` is
    what becomes of records without a class: "leave-out", "keep" (written without `.cls`) or "pretrain" (those of train
    go to a split of that name, the others are left out).
    """

    name: str
    conversion: Conversion
    splits: tuple[str, ...] = ()
    split_run: str = "default"
    seed: int = 0
    label: str | None = None
    unlabelled: str = "leave-out"
    members: tuple[str, ...] = ("cls", "json")
    caption: str | None = None
    texts: tuple[str, ...] = ()
    shard_samples: int = 10_000
    shard_bytes: int = 1_000_000_000
    encoder: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > _MOST_LETTERS:
            raise UsageError(
                f"--name {self.name!r}: use at most {_MOST_LETTERS} letters, digits, - and _, since it becomes part of "
                "file names"
            )
        if self.label is not None and self.label not in TEXT_COLUMNS:
            raise UsageError(f"--label {self.label}: no such column; choose one of {', '.join(TEXT_COLUMNS)}, or none")
        for member in self.members:
            if member not in ("cls", "json") and member.removesuffix(".txt") not in TEXT_COLUMNS:
                columns = ", ".join(TEXT_COLUMNS)
                raise UsageError(f"--members {member}: not known; choose cls, json, or COLUMN.txt of {columns}")
        for option, kinds in (("--caption", (self.caption,) if self.caption else ()), ("--text", self.texts)):
            for kind in kinds:
                if kind not in TEXTS:
                    raise UsageError(f"{option} {kind}: not known; choose of {', '.join(TEXTS)}")
        extensions = [*self.members, *map(text_extension, self.texts)]
        if twice := next((name for name in extensions if extensions.count(name) > 1), None):
            raise UsageError(f"--members and --text: the member {twice} stands there twice; leave one out")
        if self.unlabelled not in UNLABELLED:
            raise UsageError(f"--unlabelled {self.unlabelled}: not known; choose one of {', '.join(UNLABELLED)}")
        if self.label is None and self.unlabelled != "leave-out":
            raise UsageError(f"--unlabelled {self.unlabelled}: needs labels; give --label COLUMN, or leave it out")
        if self.label is None and "cls" in self.members:
            raise UsageError("--members cls: needs labels; give --label COLUMN or leave cls out")

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions of a sample's members, in their order: the image first."""
        return (self.conversion.format, *self.members, *self.text_members)

    @property
    def text_members(self) -> dict[str, str]:
        """Extension -> the kind of text that it holds, in the order of the members."""
        caption = {"txt": self.caption} if self.caption else {}
        return caption | {text_extension(kind): kind for kind in self.texts}

    def members_of(self, split: str) -> tuple[str, ...]:
        """Return the members of the samples of a split: the split for pre-training has no classes."""
        columns = (member for member in self.members if member != "cls" or split != PRETRAIN)
        return (*columns, *self.text_members)

    def extensions_of(self, split: str) -> tuple[str, ...]:
        """Return the extensions of the members of a split's samples, the image first."""
        return (self.conversion.format, *self.members_of(split))

    def to_json(self) -> dict[str, Any]:
        """Return the options as they stand in manifest and digests.

        Those that 0.1.0 did not have are left out at their defaults: a dataset keeps its digests when there are more.
        """
        first, later = self.to_stored()
        return first | later | {"conversion": first["conversion"] | later.get("conversion", {})}

    def to_stored(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the options as they stand in a plan: those that 0.1.0 reads, and apart from them the later ones."""
        values = json.loads(json.dumps(asdict(self)))
        conversion = values.pop("conversion")
        first = values | {"conversion": {name: conversion[name] for name in _FIRST_OF_CONVERSION}}
        later = _leave_out_defaults(values, type(self), _FIRST)
        if asked := _leave_out_defaults(conversion, type(self.conversion), _FIRST_OF_CONVERSION):
            later["conversion"] = asked
        return {name: first[name] for name in _FIRST}, later

    @classmethod
    def from_json(cls, values: dict[str, Any], later: dict[str, Any] | None = None) -> WriteOptions:
        """Return the options that `to_json` gave, or `to_stored`.

        Raises:
            LookupError, TypeError, ValueError, UsageError: they are none.
        """
        conversion = values["conversion"] | (later or {}).get("conversion", {})
        merged = values | (later or {}) | {"conversion": Conversion(**_check_types(conversion, Conversion))}
        return cls(**_check_types(merged, cls))


def require_encoder(options: WriteOptions, path: str) -> None:
    """Refuse to write the shard at `path` by another converter than the rest of its dataset, where that is recorded.

    Raises:
        DatasetError: the shard cannot be made as planned; the message says what differs.
        UsageError: the codec is not installed.
    """
    planned, here = options.encoder, codec_versions(choose_codec(options.conversion.codec))
    if not planned or planned == here:
        return
    names = dict.fromkeys([*planned, *here])
    changed = [
        f"{name} {planned.get(name, 'none')}, here {here.get(name, 'none')}"
        for name in names
        if planned.get(name) != here.get(name)
    ]
    raise DatasetError(
        f"{path}: has to be written, and its dataset was converted otherwise than this installation does "
        f"({'; '.join(changed)}); write all of it anew with --replace, or install what it was written with"
    )


def _leave_out_defaults(values: dict[str, Any], kind: type[Any], known: Sequence[str]) -> dict[str, Any]:
    """Return the values that are neither of fields that are `known` nor what their fields have by default."""
    defaults = {field.name: default_of(field) for field in fields(kind) if field.name not in known}
    return {
        name: values[name]
        for name, default in defaults.items()
        if default is MISSING or values[name] != json.loads(json.dumps(default))
    }


def _check_types(values: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Return values as the fields of a dataclass have them, lists as tuples.

    Raises:
        TypeError: one is of another type than its field.
    """
    hints = get_type_hints(kind)
    made = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in made.items():
        if name not in hints:
            raise TypeError(f"{name} is no option of this version")
        if not _has_type(value, hints[name]):
            raise TypeError(f"{name} is {value!r:.50}")
    return made


def _has_type(value: Any, hint: Any) -> bool:
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is Literal:
        return value in parts
    if kind in (Union, UnionType):
        return any(_has_type(value, part) for part in parts)
    if kind is tuple:
        each = parts[:1] * len(value) if isinstance(value, tuple) and parts[-1] is ... else parts
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_has_type, value, each))
    if kind is dict:
        return isinstance(value, dict) and all(_has_type(item, parts[1]) for item in value.values())
    return type(value) is kind


def default_label(mapping: Mapping) -> str:
    """Return "label" when any usable record has one, else "none"."""
    found = mapping.rows("SELECT 1 FROM images WHERE label IS NOT NULL AND reason IS NULL LIMIT 1")
    return "label" if found else "none"


def default_seed(mapping: Mapping, run: str) -> int:
    """Return the seed of a split run.

    Raises:
        UsageError: the mapping has no such run.
    """
    found = mapping.rows("SELECT seed FROM split_runs WHERE name = $name", name=run)
    if not found:
        raise missing_run(mapping, run)
    return int(found[0][0])


def missing_run(mapping: Mapping, run: str) -> UsageError:
    """Return the error for a split run that the mapping does not have."""
    known = [name for (name,) in mapping.rows("SELECT name FROM split_runs ORDER BY name")]
    there = f"it has {', '.join(known)}; choose one, or make it" if known else "make it first"
    return UsageError(
        f"{mapping.path}: has no split run called {run}; {there}: "
        f"`shardforge split --db {shlex.quote(str(mapping.path))} --name {shlex.quote(run)} --seed 17`"
    )
