"""`_info.json`: what a dataset holds, read unchanged by birder, timm and wids, and the classes and sizes beside it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardforge.dataset.layout import CLASSES, Layout
from shardforge.dataset.plan import Plan
from shardforge.dataset.receipt import Receipt
from shardforge.dataset.tarwriter import MISSING
from shardforge.errors import ManifestError, ManifestMissingError, NewerFormError
from shardforge.files import atomic_write, read_regular
from shardforge.inside import leads_out

SCHEMA = 1
#: Names under which other tools look for our splits by default: birder trains on "training".
ALIASES = {"training": "train"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LISTS = ("filenames", "shard_lengths")
_TYPES: dict[str, tuple[type, ...]] = {
    "filenames": (str,),
    "shard_lengths": (int,),
    "shard_bytes": (int, type(None)),
    "shard_sha256": (str, type(None)),
}


@dataclass(frozen=True)
class ShardEntry:
    """One shard as the manifest has it; `sha256` and `bytes` are None in manifests that others wrote."""

    split: str
    path: str
    samples: int
    bytes: int | None
    sha256: str | None


@dataclass(frozen=True)
class Manifest:
    """A manifest in memory: `content` as it is on disk, `shards` without those of aliases, in order."""

    path: Path
    content: dict[str, Any]
    shards: list[ShardEntry]

    @property
    def ours(self) -> dict[str, Any]:
        """The part that shardforge adds; empty in manifests that others wrote."""
        part: dict[str, Any] = self.content.get("shardforge", {})
        return part


def build_manifest(plan: Plan, receipts: list[Receipt]) -> dict[str, Any]:
    """Return the content of `_info.json`: a function of plan and shards alone, without times or places."""
    of_split: dict[str, list[Receipt]] = {split: [] for split in plan.splits}
    for shard, receipt in zip(plan.shards, receipts, strict=True):
        of_split[shard.split].append(receipt)
    splits = {name: _split_entry(name, shards) for name, shards in of_split.items()}
    aliases = {alias: split for alias, split in ALIASES.items() if split in splits and alias not in splits}
    entries = splits | {alias: {**splits[split], "name": alias} for alias, split in aliases.items()}
    shardlist = [{"url": shard.path, "nsamples": shard.samples, "filesize": shard.bytes} for shard in receipts]
    ours = {
        "schema": SCHEMA,
        "version": plan.version,
        "seed": plan.options.seed,
        "options": plan.options.to_json(),
        "plan_sha256": plan.sha256,
        "aliases": aliases,
        "members": list(plan.options.extensions),
        "classes": None if plan.classes is None else {"file": CLASSES, "count": len(plan.classes)},
        "index": {split: f"index/{split}.parquet" for split in splits},
    }
    if unlabelled := _count_unlabelled(plan, of_split):
        ours["unlabelled"] = unlabelled
    return {"name": plan.options.name, "splits": entries, "wids_version": 1, "shardlist": shardlist, "shardforge": ours}


def write_manifest(layout: Layout, content: dict[str, Any]) -> None:
    """Write the manifest, atomically; everything that it names is there before it."""
    with atomic_write(layout.manifest, scratch=layout.scratch) as file:
        file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")


def write_companions(layout: Layout, plan: Plan, receipts: list[Receipt]) -> None:
    """Write `classes.txt` and, in each split's folder, open_clip's `sizes.json`."""
    if plan.classes is not None:
        with atomic_write(layout.classes, scratch=layout.scratch) as file:
            file.write(classes_text(plan.classes))
    sizes: dict[str, dict[str, int]] = {}
    for shard, receipt in zip(plan.shards, receipts, strict=True):
        sizes.setdefault(shard.split, {})[Path(shard.path).name] = receipt.samples
    for split, counts in sizes.items():
        with atomic_write(layout.sizes(split), scratch=layout.scratch) as file:
            file.write(sizes_text(counts))


def classes_text(classes: list[str]) -> bytes:
    """Return the bytes of `classes.txt`."""
    return "".join(f"{name}\n" for name in classes).encode()


def sizes_text(counts: dict[str, int]) -> bytes:
    """Return the bytes of a split's `sizes.json`."""
    return json.dumps(counts, indent=1).encode() + b"\n"


def read_manifest(path: Path, *, trust: bool = False) -> Manifest:
    """Read `_info.json`, of ours or of any tool that writes the same splits.

    Raises:
        NewerFormError: a newer release wrote it.
        ManifestError: it is missing, no JSON, lacks what every reader needs, or, unless it is to be trusted, names
            files elsewhere.
    """
    try:
        content = json.loads(read_regular(path))
    except FileNotFoundError as error:
        started = Layout(path.parent).plan.exists()
        remedy = "run the same `shardforge write` again to finish it" if started else "name the folder of a dataset"
        raise ManifestMissingError(f"{path}: not found; {remedy}") from error
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); give it read permission") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: not JSON ({error}); restore it with `shardforge verify --repair`") from error
    return Manifest(path, content, check_manifest(path, content, folder=str(path.parent), trust=trust))


def check_manifest(path: Path | str, content: Any, *, folder: str, trust: bool = False) -> list[ShardEntry]:
    """Return the shards of a manifest's parsed content, without those of aliases; `path` is for messages.

    Unless it is to be trusted, what it names must lie below `folder`, its own, which may be a URL.

    Raises:
        NewerFormError: a newer release wrote it.
        ManifestError: it lacks what every reader needs, or names files elsewhere.
    """
    splits = content.get("splits") if isinstance(content, dict) else None
    if not isinstance(splits, dict) or not splits:
        raise ManifestError(f'{path}: has no "splits"; expected an object with a split each')
    ours = _read_ours(path, content.get("shardforge", {}))
    entries = {name: _read_split(path, name, split) for name, split in splits.items()}
    named = [entry.path for split in entries.values() for entry in split] + list(ours.get("index", {}).values())
    if ours.get("classes"):
        named.append(ours["classes"].get("file", CLASSES))
    require_below(path, named, folder, trust=trust)
    return [entry for name, split in entries.items() if name not in ours.get("aliases", {}) for entry in split]


def require_below(path: Path | str, named: Iterable[str], folder: str, *, trust: bool) -> None:
    """Refuse names that lead out of the folder of the file at `path`, which has them, unless that is to be trusted.

    Raises:
        ManifestError: one of them does.
    """
    outside = next((name for name in named if leads_out(name, folder)), None) if not trust else None
    if outside is not None:
        raise ManifestError(
            f"{path}: names {outside[:200]!r}, which may lie outside of its folder; if you know who made this file and "
            "want that to be read, give --trust (trust=True in Python)"
        )


def _read_ours(path: Path | str, ours: Any) -> dict[str, Any]:
    """Return the part that shardforge adds, after a look at the types in it."""
    if not isinstance(ours, dict):
        raise ManifestError(f'{path}: "shardforge" must be an object')
    if type(ours.get("schema")) is int and ours["schema"] > SCHEMA:
        raise NewerFormError(
            f"{path}: has schema {ours['schema']}, this version of shardforge reads {SCHEMA}: a newer one wrote it; "
            "go on with that one"
        )
    for name in ("aliases", "index"):
        table = ours.get(name, {})
        if not isinstance(table, dict) or not all(map(_is_file_name, table.values())):
            raise ManifestError(f'{path}: "{name}" of "shardforge" must be an object of names')
    members = ours.get("members", [])
    if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
        raise ManifestError(f'{path}: "members" of "shardforge" must be a list of texts')
    classes = ours.get("classes")
    if classes is not None and not (isinstance(classes, dict) and isinstance(classes.get("count"), int)):
        raise ManifestError(f'{path}: "classes" of "shardforge" must be null or an object with a "count"')
    if classes and not _is_file_name(classes.get("file", CLASSES)):
        raise ManifestError(f'{path}: "file" of the "classes" of "shardforge" must be the name of a file')
    return ours


def _count_unlabelled(plan: Plan, of_split: dict[str, list[Receipt]]) -> dict[str, int]:
    """Return how many samples have no `.cls` in each split where some have none, of a dataset with classes."""
    if "cls" not in plan.options.members:
        return {}
    counts = {
        split: sum(
            receipt.sizes["cls"].count(MISSING) if "cls" in receipt.sizes else receipt.samples for receipt in shards
        )
        for split, shards in of_split.items()
    }
    return {split: count for split, count in counts.items() if count}


def _split_entry(name: str, shards: list[Receipt]) -> dict[str, Any]:
    return {
        "name": name,
        "num_samples": sum(shard.samples for shard in shards),
        "filenames": [shard.path for shard in shards],
        "shard_lengths": [shard.samples for shard in shards],
        "shard_bytes": [shard.bytes for shard in shards],
        "shard_sha256": [shard.sha256 for shard in shards],
    }


def _is_file_name(text: Any) -> bool:
    """Tell whether a value is a name that a file can have and that can stand on a line."""
    try:
        return isinstance(text, str) and bool(os.fsencode(text)) and not _CONTROL.search(text)
    except UnicodeEncodeError:
        return False


def _read_split(path: Path | str, name: str, split: Any) -> list[ShardEntry]:
    if not isinstance(split, dict) or not all(isinstance(split.get(part), list) for part in _LISTS):
        raise ManifestError(f"{path}: split {name} lacks the lists {' and '.join(_LISTS)}")
    count = len(split["filenames"])
    lists = {part: split.get(part, [None] * count) for part in (*_LISTS, "shard_bytes", "shard_sha256")}
    for part, values in lists.items():
        if not isinstance(values, list) or len(values) != count:
            raise ManifestError(f"{path}: split {name} has {count} filenames but not as many {part}")
        if not all(type(value) in _TYPES[part] for value in values):
            raise ManifestError(f"{path}: split {name}: {part} must be all of one type, {_TYPES[part][0].__name__}")
        if any(isinstance(value, int) and value < 0 for value in values):
            raise ManifestError(f"{path}: split {name}: {part} holds a number below 0")
    if not all(_is_file_name(filename) for filename in split["filenames"]):
        raise ManifestError(f"{path}: split {name}: filenames holds one that cannot be a file's name")
    return [ShardEntry(name, *values) for values in zip(*lists.values(), strict=True)]
