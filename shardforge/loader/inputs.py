"""What the user names, as a list of shards: `_info.json`, names with braces or *, a folder, or a text list of them.

Any of these may be a URL. Names in a file are relative to the file's folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from shardforge.braces import expand_braces
from shardforge.dataset.layout import MANIFEST
from shardforge.errors import UsageError
from shardforge.loader.descriptions import SAME_SPLITS, read_classes, read_description
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
from shardforge.loader.shards import Place, Shard, ShardSet
from shardforge.tarfiles import find_compression


def open_inputs(
    inputs: Place | Sequence[Place],
    *,
    split: str | None = None,
    class_file: Place | None = None,
    trust: bool = False,
) -> ShardSet:
    """Return the shards that `inputs` name; several names are one list of tars.

    `split` may be left out where there is only one, and goes by either name of a split that has two (train, training).
    `class_file` takes the place of the dataset's own. `trust` says that an `_info.json` may name files anywhere, and
    not only below its own folder.

    Raises:
        UsageError: nothing is there, or there is no such split; the message lists those there.
        ManifestError: an `_info.json` that lacks what every reader needs, or names files elsewhere.
    """
    if isinstance(inputs, (str, Path)):
        text = normalise_place(inputs)
        found = _choose_reader(text)(text, split, trust)
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
    inputs: Sequence[Place], *, splits: Sequence[str] = (), class_file: Place | None = None, trust: bool = False
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
        open_inputs(text, split=split, class_file=class_file, trust=trust)
        for text, split in zip(inputs, each, strict=True)
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


def _choose_reader(text: str) -> Callable[[str, str | None, bool], ShardSet]:
    if text.startswith("pipe:"):
        raise UsageError(f"{hide_credentials(text)}: commands are not run; give the URL of the shards")
    name = _file_name(text)
    if name.endswith(".json"):
        return _read_manifest
    if name.endswith(".txt"):
        return _read_list
    if name.endswith(".tar") or "{" in text or "*" in text or (find_compression(name) and not Path(text).is_dir()):
        return _read_names
    return _read_folder


def _read_tars(text: str) -> tuple[Shard, ...]:
    if _choose_reader(text) is not _read_names:
        raise UsageError(
            f"{hide_credentials(text)}: stands in a list of tars, but names none; open each dataset by itself"
        )
    return _read_names(text, None, False).shards


def _read_manifest(text: str, split: str | None, trust: bool) -> ShardSet:
    return read_description(text, split, trust=trust)


def _read_names(text: str, split: str | None, trust: bool) -> ShardSet:
    """Read a name, with braces or *; such names have no splits, so whichever is asked for is theirs."""
    return ShardSet(tuple(Shard(url) for url in _expand(text)))


def _read_list(text: str, split: str | None, trust: bool) -> ShardSet:
    """Read a text file with a name a line; empty lines and those that start with # say nothing."""
    lines = [line.strip() for line in read_place(text).decode("utf-8", "surrogateescape").splitlines()]
    names = [join_place(folder_of(text), line) for line in lines if line and not line.startswith("#")]
    return ShardSet(tuple(Shard(url) for name in names for url in _expand(name)))


def _read_folder(text: str, split: str | None, trust: bool) -> ShardSet:
    """Read a dataset's folder: its `_info.json`, else the tars of the split's own folder, else those in it."""
    folder = text.rstrip("/") or "/"
    if exists(manifest := join_place(folder, MANIFEST)):
        return read_description(manifest, split, trust=trust)
    names = [split, SAME_SPLITS.get(split, split)] if split else []
    for name in names:
        if tars := list_tars(join_place(folder, name)):
            return ShardSet(tuple(map(Shard, tars)))
    tars = list_tars(folder)
    if not tars and not is_remote(text):
        for place in (folder, *(join_place(folder, name) for name in names)):
            _refuse_compressed(sorted(map(str, Path(place).glob("*"))))
    if not tars and not is_remote(text) and Path(text).is_file():
        raise UsageError(
            f"{text}: is neither an _info.json, nor a tar, nor a .txt file that lists tars; give one of these"
        )
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
    _refuse_compressed(found)
    return found


def _refuse_compressed(names: Iterable[str]) -> None:
    for name in names:
        if compressed := find_compression(_file_name(name)):
            raise UsageError(f"{hide_credentials(name)} {compressed}")


def _file_name(text: str) -> str:
    """Return a path or URL without the query of a URL."""
    return text.partition("?")[0] if is_remote(text) else text
