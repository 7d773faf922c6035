"""What a user chooses when writing a dataset, and what of it decides the bytes."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass, field
from typing import Any

from shardforge.errors import UsageError
from shardforge.images.convert import Conversion
from shardforge.mapping import Mapping
from shardforge.records import RANKS
from shardforge.splits.request import PRETRAIN
from shardforge.taxonomy.text import TEXTS, text_extension

#: Columns that can be the label or a text member.
TEXT_COLUMNS = ("label", "group_id", *RANKS, "common_name", "license", "author", "url", "path", "source")
#: What may become of records without a class.
UNLABELLED = ("leave-out", "keep", "pretrain")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
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
        """Return the options as they stand in plan and manifest."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> WriteOptions:
        """Return the options that `to_json` wrote."""
        conversion = dict(values["conversion"])
        if conversion["size"] is not None:
            conversion["size"] = tuple(conversion["size"])
        rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        rest["conversion"] = Conversion(**conversion)
        return cls(**rest)


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
