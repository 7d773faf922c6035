"""What the user names, as a list of shards: `_info.json`, names with braces or *, a folder, or a text list of them.

Any of these may be a URL. Names in a file are relative to the file's folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shardforge.braces import expand_braces
from shardforge.dataset.layout import MANIFEST
from shardforge.dataset.manifest import ALIASES, check_manifest
from shardforge.errors import ManifestError, UsageError
from shardforge.loader.network import hide_credentials
from shardforge.loader.places import (
    exists,
    folder_of,
    is_remote,
    join_place,
    list_places,
    list_tars,
    normalise_place,
    read_place,
)

# Names of splits in use for the same thing: ours and birder's.
_SAME = ALIASES | {split: alias for alias, split in ALIASES.items()}


@dataclass(frozen=True)
class Shard:
    """A tar's path or URL, and what a manifest says of it; `row_group` is its number in the index of its split."""

    url: str
    samples: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    row_group: int | None = None


@dataclass(frozen=True)
class ShardSet:
    """The shards of one split, in the order that numbers their samples.

    `classes` names the labels where a class file is known; `split` is the shards' split in the `_info.json` that listed
    them, and `index` the path or URL of the index that it names.
    """

    shards: tuple[Shard, ...]
    classes: tuple[str, ...] | None = None
    split: str | None = None
    index: str | None = None


Place = str | Path


def open_inputs(
    inputs: Place | Sequence[Place], *, split: str | None = None, class_file: Place | None = None
) -> ShardSet:
    """Return the shards that `inputs` name; several names are one list of tars.

    `split` may be left out where there is only one, and goes by either name of a split that has two (train, training).
    `class_file` takes the place of the dataset's own.

    Raises:
        UsageError: nothing is there, or there is no such split; the message lists those there.
        ManifestError: an `_info.json` that lacks what every reader needs.
    """
    if isinstance(inputs, (str, Path)):
        text = normalise_place(inputs)
        found = _choose_reader(text)(text, split)
    else:
        found = ShardSet(tuple(shard for place in inputs for shard in _read_tars(normalise_place(place))))
    found = replace(found, shards=tuple(shard for shard in found.shards if shard.samples != 0))
    if not found.shards:
        raise UsageError(
            f"{hide_credentials(str(inputs))}: names no shard that holds samples; give an _info.json, a folder "
            "or names of tars"
        )
    return found if class_file is None else replace(found, classes=read_classes(class_file))


def open_all_inputs(
    inputs: Sequence[Place], *, splits: Sequence[str] = (), class_file: Place | None = None
) -> tuple[ShardSet, ...]:
    """Return one set of shards for each of several inputs that are read as one; one split for all of them, or one each.

    Raises:
        UsageError: as for `open_inputs`; or the numbers of inputs and splits differ, or labels mean different classes.
    """
    if len(splits) not in (0, 1, len(inputs)):
        raise UsageError(
            f"{len(splits)} splits for {len(inputs)} inputs; give one split for all of them, or one for each in turn"
        )
    each = splits if len(splits) == len(inputs) else [*splits, None][:1] * len(inputs)
    sets = tuple(
        open_inputs(text, split=split, class_file=class_file) for text, split in zip(inputs, each, strict=True)
    )
    for text, found in zip(inputs, sets, strict=True):
        if found.classes != sets[0].classes:
            raise UsageError(
                f"{hide_credentials(f'{inputs[0]} and {text}')} have different classes, so a label would mean two "
                "things; write them with one class file, or give a class file that holds for both"
            )
    return sets


def check_size(size: int, samples: int, *, exact: bool) -> None:
    """Refuse an epoch of `size` samples that a dataset of `samples` cannot have.

    In training a smaller size makes shorter epochs, each going on where the last one stopped. `exact`, in evaluation,
    shows all samples once.

    Raises:
        UsageError: the size is larger, or in evaluation any other.
    """
    if size > samples or (exact and size != samples):
        raise UsageError(
            f"a size of {size:,} contradicts the shards, which hold {samples:,} samples; leave the size out"
            + ("" if exact else ", or give a smaller one for shorter epochs")
        )


def read_classes(place: Place) -> tuple[str, ...]:
    """Return the names of a class file: one a line, the line number, from 0, is the label.

    Raises:
        UsageError: it cannot be read, is empty, or not UTF-8.
    """
    name = normalise_place(place)
    try:
        classes = tuple(read_place(name).decode("utf-8").splitlines())
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{hide_credentials(name)}: not UTF-8 ({error}); a class file holds one name a line"
        ) from error
    if not classes:
        raise UsageError(f"{hide_credentials(name)}: holds no class; a class file holds one name a line")
    return classes


def _choose_reader(text: str) -> Callable[[str, str | None], ShardSet]:
    if text.startswith("pipe:"):
        raise UsageError(f"{hide_credentials(text)}: commands are not run; give the URL of the shards")
    name = text.partition("?")[0] if is_remote(text) else text
    if name.endswith(".json"):
        return _read_description
    if name.endswith(".txt"):
        return _read_list
    if name.endswith(".tar") or "{" in text or "*" in text:
        return _read_names
    return _read_folder


def _read_tars(text: str) -> tuple[Shard, ...]:
    if _choose_reader(text) is not _read_names:
        raise UsageError(
            f"{hide_credentials(text)}: stands in a list of tars, but names none; open each dataset by itself"
        )
    return _read_names(text, None).shards


def _read_names(text: str, split: str | None) -> ShardSet:
    """Read a name, with braces or *; such names have no splits, so whichever is asked for is theirs."""
    return ShardSet(tuple(Shard(url) for url in _expand(text)))


def _read_list(text: str, split: str | None) -> ShardSet:
    """Read a text file with a name a line; empty lines and those that start with # say nothing."""
    lines = [line.strip() for line in read_place(text).decode("utf-8", "surrogateescape").splitlines()]
    names = [join_place(folder_of(text), line) for line in lines if line and not line.startswith("#")]
    return ShardSet(tuple(Shard(url) for name in names for url in _expand(name)))


def _read_folder(text: str, split: str | None) -> ShardSet:
    """Read a dataset's folder: its `_info.json`, else the tars of the split's own folder, else those in it."""
    folder = text.rstrip("/") or "/"
    if exists(manifest := join_place(folder, MANIFEST)):
        return _read_description(manifest, split)
    names = [split, _SAME.get(split, split)] if split else []
    for name in names:
        if tars := list_tars(join_place(folder, name)):
            return ShardSet(tuple(map(Shard, tars)))
    tars = list_tars(folder)
    if not tars:
        raise UsageError(
            f"{hide_credentials(text)}: no {MANIFEST} and no tar in this folder; name a folder of shards, or the shards"
        )
    return ShardSet(tuple(map(Shard, _select_named(text, tars, names))))


def _select_named(text: str, tars: list[str], splits: list[str]) -> list[str]:
    """Return the tars of a split that bear its name as a word; all of them where the names tell no splits apart."""
    stems = {re.sub(r"\d+", "", Path(tar).stem) for tar in tars}
    if not splits or len(stems) == 1:
        return tars
    word = re.compile(rf"(?<![^\W_])({'|'.join(map(re.escape, splits))})(?![^\W_])")
    if chosen := [tar for tar in tars if word.search(Path(tar).stem)]:
        return chosen
    raise UsageError(
        f"{hide_credentials(text)}: no tar of split {splits[0]}; the names begin with {', '.join(sorted(stems))}: name "
        "the shards, as in NAME-{000000..000031}.tar"
    )


def _read_description(text: str, split: str | None) -> ShardSet:
    """Read a manifest, or a shard index of wids."""
    try:
        content = json.loads(read_place(text))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{hide_credentials(text)}: not JSON ({error}); give a dataset's {MANIFEST}") from error
    if isinstance(content, dict) and "splits" not in content and "shardlist" in content:
        return _read_shardlist(text, content, split)
    entries = check_manifest(hide_credentials(text), content)
    split = _choose_split(text, content, split)
    folder = folder_of(text)
    shards = tuple(
        Shard(join_place(folder, entry.path), entry.samples, entry.bytes, entry.sha256, number)
        for number, entry in enumerate(entry for entry in entries if entry.split == split)
    )
    ours = content.get("shardforge", {})
    classes, index = ours.get("classes"), ours.get("index", {}).get(split)
    named = read_classes(join_place(folder, classes.get("file", "classes.txt"))) if classes else None
    return ShardSet(shards, named, split, join_place(folder, index) if index else None)


def _choose_split(text: str, content: dict[str, Any], split: str | None) -> str:
    """Return the split's own name: that of its files, not an alias."""
    aliases = content.get("shardforge", {}).get("aliases", {})
    names: list[str] = [name for name in content["splits"] if name not in aliases]
    if split is None and len(names) == 1:
        return names[0]
    meant = [split, aliases.get(split), _SAME.get(split)] if split else []
    for name in meant:
        if name in names:
            return str(name)
    problem = f"no split {split}" if split else "several splits"
    raise UsageError(f"{hide_credentials(text)}: {problem}; choose one of {', '.join(names)}")


def _read_shardlist(text: str, content: dict[str, Any], split: str | None) -> ShardSet:
    if split is not None:
        raise UsageError(
            f"{hide_credentials(text)}: lists shards without splits, so it has no split {split}; leave the split out"
        )
    try:
        base = join_place(folder_of(text), content.get("base") or "")
        shards = tuple(
            Shard(join_place(base, shard["url"]), int(shard["nsamples"]), shard.get("filesize"))
            for shard in content["shardlist"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestError(
            f'{hide_credentials(text)}: each entry of "shardlist" must have a "url" and a number "nsamples"'
        ) from error
    return ShardSet(shards)


def _expand(text: str) -> list[str]:
    """Return the tars that a name with braces, or with *, stands for."""
    if "*" in text:
        found = [url for name in expand_braces(text) for url in list_places(name)]
    else:
        found = expand_braces(text)
        if not is_remote(text) and not any(map(exists, found)):
            found = []
    if not found:
        raise UsageError(
            f"{hide_credentials(text)}: matches no file; check the folder, and the numbers in the braces if there "
            "are any"
        )
    return found
