"""Files that describe shards: manifests, the shard indexes of wids, and class files."""

from __future__ import annotations

import json
import operator
from typing import Any

from shardforge.dataset.layout import MANIFEST
from shardforge.dataset.manifest import ALIASES, check_manifest, require_below
from shardforge.errors import ManifestError, UsageError
from shardforge.loader.network import hide_credentials
from shardforge.loader.places import folder_of, join_place, normalise_place, read_place
from shardforge.loader.shards import Place, Shard, ShardSet

#: Names of splits in use for the same thing: ours and birder's.
SAME_SPLITS = ALIASES | {split: alias for alias, split in ALIASES.items()}


def read_description(text: str, split: str | None, *, trust: bool = False) -> ShardSet:
    """Return what a manifest, or a shard index of wids, says of a split; None: the only one.

    Unless it is to be trusted, it may name only what lies below its own folder.

    Raises:
        ManifestError: it is neither, lacks what every reader needs, or names files elsewhere.
        UsageError: there is no such split, or which one is meant is open.
    """
    try:
        content = json.loads(read_place(text))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{hide_credentials(text)}: not JSON ({error}); give a dataset's {MANIFEST}") from error
    if isinstance(content, dict) and "splits" not in content and "shardlist" in content:
        return _read_shardlist(text, content, split, trust=trust)
    folder = folder_of(text)
    entries = check_manifest(hide_credentials(text), content, folder=folder, trust=trust)
    split = _choose_split(text, content, split)
    shards = tuple(
        Shard(join_place(folder, entry.path), entry.samples, entry.bytes, entry.sha256, number)
        for number, entry in enumerate(entry for entry in entries if entry.split == split)
    )
    ours = content.get("shardforge", {})
    classes, index = ours.get("classes"), ours.get("index", {}).get(split)
    named = read_classes(join_place(folder, classes.get("file", "classes.txt"))) if classes else None
    return ShardSet(shards, named, split, join_place(folder, index) if index else None, folder)


def _choose_split(text: str, content: dict[str, Any], split: str | None) -> str:
    """Return the split's own name: that of its files, not an alias."""
    aliases = content.get("shardforge", {}).get("aliases", {})
    names: list[str] = [name for name in content["splits"] if name not in aliases]
    if split is None and len(names) == 1:
        return names[0]
    meant = [split, aliases.get(split), SAME_SPLITS.get(split)] if split else []
    for name in meant:
        if name in names:
            return str(name)
    problem = f"no split {split}" if split else "several splits"
    raise UsageError(
        f"{hide_credentials(text)}: {problem}; choose one of {', '.join(names)} with --split NAME (--wds-split in "
        "training, split= in Python)"
    )


def _read_shardlist(text: str, content: dict[str, Any], split: str | None, *, trust: bool) -> ShardSet:
    if split is not None:
        raise UsageError(
            f"{hide_credentials(text)}: lists shards without splits, so it has no split {split}; leave the split out"
        )
    folder = folder_of(text)
    named = content.get("base") or "."
    try:
        base = join_place(folder, named)
        listed = [
            (shard["url"], operator.index(shard["nsamples"]), _read_size(shard.get("filesize")))
            for shard in content["shardlist"]
        ]
        shards = tuple(Shard(join_place(base, url), samples, size) for url, samples, size in listed)
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f'{hide_credentials(text)}: each entry of "shardlist" must have a "url" and a whole number "nsamples", and '
            'may have a whole number "filesize"; mend it'
        ) from error
    require_below(hide_credentials(text), [named], folder, trust=trust)
    require_below(hide_credentials(text), [url for url, _, _ in listed], base, trust=trust)
    return ShardSet(shards, root=folder)


def _read_size(size: Any) -> int | None:
    return None if size is None else operator.index(size)


def read_classes(place: Place) -> tuple[str, ...]:
    """Return the names of a class file: one a line, the line number, from 0, is the label.

    Raises:
        UsageError: it cannot be read, is empty, or not UTF-8.
    """
    name = normalise_place(place)
    try:
        lines = read_place(name).decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{hide_credentials(name)}: not UTF-8 ({error}); a class file holds one name a line"
        ) from error
    if not lines:
        raise UsageError(f"{hide_credentials(name)}: holds no class; a class file holds one name a line")
    return tuple(lines.split("\n"))  # not splitlines(), to which more characters end a line
