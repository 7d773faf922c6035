"""Verify a dataset: the manifest against plan and shards, the files beside it, every shard, and the mapping."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from shardforge.dataset.layout import Layout
from shardforge.dataset.manifest import (
    Manifest,
    ShardEntry,
    build_manifest,
    classes_text,
    read_manifest,
    sizes_text,
)
from shardforge.dataset.plan import Plan, read_plan
from shardforge.dataset.receipt import Receipt, find_receipt
from shardforge.errors import DatasetError, ManifestError, ManifestMissingError
from shardforge.executors import Executor
from shardforge.files import read_regular
from shardforge.inside import are_one_file, fold_name, leads_out
from shardforge.verify.checks import run_checks
from shardforge.verify.index import check_index, compare_index
from shardforge.verify.problems import Problem
from shardforge.verify.shard import ShardCheck, ShardFindings

ProgressCall = Callable[[str, int, int], None]


def verify_dataset(
    path: Path, level: str, executor: Executor, *, progress: ProgressCall, trust: bool = False
) -> list[Problem]:
    """Return the problems of the dataset whose manifest is at `path`, in the order of manifest and shards.

    With the plan that `shardforge write` leaves beside its shards, the manifest is compared with what it should say;
    without one (a manifest that another tool wrote) with itself. Only with `trust` it may name files elsewhere.

    Raises:
        ManifestError: the manifest is missing or damaged, and there is no plan to replace it.
    """
    layout = Layout(path.parent)
    plan = read_plan(layout.plan) if layout.plan.exists() else None
    receipts = _all_receipts(layout, plan) if plan is not None else None
    expected = build_manifest(plan, receipts) if plan is not None and receipts is not None else None
    problems: list[Problem] = []
    try:
        manifest = read_manifest(path, trust=trust)
        if expected is not None:
            problems += _compare(path.name, manifest.content, expected)
        else:
            problems += _check_itself(manifest)
    except ManifestError as error:
        if expected is None:
            raise
        missing = isinstance(error, ManifestMissingError)
        found = "no such file" if missing else str(error).removeprefix(f"{path}: ")
        problems.append(Problem("manifest_invalid", path.name, found=found, shard=False))
    if expected is not None:
        manifest = _from_content(path, expected)
    problems += check_companions(layout, manifest, plan)
    unread = list(check_index(layout, manifest))
    problems += unread
    if plan is not None and receipts is not None:
        problems += compare_index(layout, plan, receipts, known=unread)
    problems += _check_extra(layout, manifest)
    return problems + _verify_shards(layout, manifest, level, executor, progress)


def _all_receipts(layout: Layout, plan: Plan) -> list[Receipt] | None:
    """Return the receipts of all shards, or None where one is missing."""
    receipts = [find_receipt(layout, shard) for shard in plan.shards]
    whole = [receipt for receipt in receipts if receipt is not None]
    return whole if len(whole) == len(receipts) else None


def _from_content(path: Path, content: dict[str, Any]) -> Manifest:
    aliases = content["shardforge"]["aliases"]
    shards = [
        ShardEntry(name, *values)
        for name, split in content["splits"].items()
        if name not in aliases
        for values in zip(
            split["filenames"], split["shard_lengths"], split["shard_bytes"], split["shard_sha256"], strict=True
        )
    ]
    return Manifest(path, content, shards)


def _compare(file: str, found: Any, expected: Any, place: str = "") -> Iterator[Problem]:
    """Yield each value of the manifest that differs, by its place such as splits.train.num_samples."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in dict.fromkeys([*expected, *found]):
            yield from _compare(file, found.get(name), expected.get(name), f"{place}.{name}".lstrip("."))
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from _compare(file, one, other, f"{place}[{number}]")
    elif found != expected:
        yield Problem("manifest_value", file, place, _short(expected), _short(found), shard=False)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_itself(manifest: Manifest) -> Iterator[Problem]:
    """Check that a manifest agrees with itself."""
    for name, split in manifest.content["splits"].items():
        total = sum(split["shard_lengths"]) if "shard_lengths" in split else split.get("num_samples")
        if split.get("num_samples") != total:
            place = f"splits.{name}.num_samples"
            yield Problem(
                "manifest_value", manifest.path.name, place, str(total), str(split.get("num_samples")), shard=False
            )


def check_companions(layout: Layout, manifest: Manifest, plan: Plan | None) -> Iterator[Problem]:
    """Compare `classes.txt` and each split's `sizes.json` with manifest and plan."""
    if manifest.ours.get("classes"):
        yield from _check_classes(layout.classes, manifest.ours["classes"]["count"], plan)
    if not manifest.ours:
        return
    for split in dict.fromkeys(entry.split for entry in manifest.shards):
        counts = {Path(entry.path).name: entry.samples for entry in manifest.shards if entry.split == split}
        place = layout.sizes(split)
        content = _read_bytes(place)
        if content != sizes_text(counts):
            found = "no readable file" if content is None else "other content"
            yield Problem(
                "companion_value", f"{split}/{place.name}", "", "the samples of each shard", found, shard=False
            )


def _check_classes(place: Path, count: int, plan: Plan | None) -> Iterator[Problem]:
    """Compare a file of classes with the plan, or, without one, only their number."""
    classes = None if plan is None else plan.classes or []
    lines = _read_lines(place)
    if lines is None or len(lines) != count:
        found = "no readable file" if lines is None else f"{len(lines)} lines"
        yield Problem("class_file", place.name, "", f"{count} classes", found, shard=False)
    elif classes is not None and _read_bytes(place) != classes_text(classes):
        for number, (line, name) in enumerate(zip(lines, classes, strict=True), 1):
            if line != name:
                yield Problem("class_file", place.name, f"line {number}", repr(name), repr(line), shard=False)
                return
        yield Problem("class_file", place.name, "", "a line end behind the last class", "none", shard=False)


def _read_lines(path: Path) -> list[str] | None:
    content = _read_bytes(path)
    try:
        return None if content is None else content.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        return None


def _read_bytes(path: Path) -> bytes | None:
    try:
        return read_regular(path)
    except OSError:
        return None


def _check_extra(layout: Layout, manifest: Manifest) -> Iterator[Problem]:
    """Yield the tars that lie beside those of the manifest, in the folders of this dataset alone."""
    named = {os.path.normpath(entry.path) for entry in manifest.shards if not leads_out(entry.path, "")}
    known = {fold_name(path): path for path in named}
    for folder in sorted({os.path.dirname(path) for path in named}):
        for tar in sorted(layout.out.joinpath(folder).glob("*.tar")):
            path = os.path.relpath(tar, layout.out)
            twin = known.get(fold_name(path))
            if path not in named and (twin is None or not are_one_file(tar, layout.out / twin)):
                yield Problem("shard_extra", path)


def _verify_shards(
    layout: Layout, manifest: Manifest, level: str, executor: Executor, progress: ProgressCall
) -> list[Problem]:
    checks = _plan_checks(layout, manifest, level)
    owner = {check.sha256: check.file for check in checks if check.sha256}
    findings: dict[str, ShardFindings] = {}
    progress(f"verify ({level})", 0, len(checks))
    for check, found in run_checks(executor, checks):
        findings[check.file] = found
        progress(f"verify ({level})", len(findings), len(checks))
    problems: list[Problem] = []
    for check in checks:
        found = findings[check.file]
        other = owner.get(found.sha256 or "") if found.sha256 != check.sha256 else None
        if other is not None:
            problems.append(
                Problem("shard_swapped", check.file, expected=f"sha256 {check.sha256}", found=f"that of {other}")
            )
        else:
            problems += found.problems
    return problems


def _plan_checks(layout: Layout, manifest: Manifest, level: str) -> list[ShardCheck]:
    classes = (manifest.ours.get("classes") or {}).get("count")
    extensions = tuple(manifest.ours.get("members", ()))
    unlabelled = manifest.ours.get("unlabelled", {})
    position: dict[str, int] = {}
    checks = []
    for entry in manifest.shards:
        if "://" in entry.path:
            raise DatasetError(f"{manifest.path}: {entry.path} is remote; verify reads local shards only")
        row_group = position[entry.split] = position.get(entry.split, -1) + 1
        index = manifest.ours.get("index", {}).get(entry.split)
        check = ShardCheck(
            path=str(layout.out / entry.path),
            file=entry.path,
            level=level,
            bytes=entry.bytes,
            sha256=entry.sha256,
            samples=entry.samples,
            classes=classes,
            index=str(layout.out / index) if index else None,
            row_group=row_group,
            extensions=extensions,
            optional=frozenset({"cls"} if entry.split in unlabelled else ()),
            strict=bool(manifest.ours),
        )
        unknown = level == "checksum" and entry.sha256 is None
        checks.append(replace(check, level="decode") if unknown else check)
    return checks
