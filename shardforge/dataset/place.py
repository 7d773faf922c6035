"""Whether a dataset may be written into a folder, given what is there."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from shardforge.dataset.layout import Layout
from shardforge.dataset.manifest import read_manifest
from shardforge.dataset.options import WriteOptions
from shardforge.dataset.plan import Plan, read_plan
from shardforge.errors import DatasetError, ManifestError, NewerFormError, UsageError
from shardforge.files import explain_os_error
from shardforge.paths import require_text


def check_place(layout: Layout) -> None:
    """Look whether a dataset may be written there, before anything is.

    Raises:
        UsageError: it is a file, a folder that holds what shardforge did not write, or no mapping could name it.
        DatasetError: the folder cannot be read.
        NewerFormError: a newer release wrote what is there.
    """
    out = layout.out
    require_text(out.resolve())
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; --out must be a folder")
    try:
        strangers = [path.name for path in out.iterdir() if not path.name.startswith(".")] if out.is_dir() else []
    except OSError as error:
        raise explain_os_error(error, out) from error
    recorded = _recorded_plan(layout)
    if strangers and not layout.plan.exists() and recorded is None:
        raise UsageError(
            f"{out}: is not empty and was not written by shardforge (it holds {', '.join(sorted(strangers)[:3])}); "
            "choose another --out"
        )


def settle_options(layout: Layout, wished: WriteOptions) -> WriteOptions:
    """Return the options to go on with: those of the dataset there, where no more than its converter is another one.

    So an upgrade of this package, or of the libraries that it encodes with, makes no other dataset of one that was
    begun before: its finished shards stay. Options that it did not know yet count as their defaults.

    Raises:
        NewerFormError: a newer release wrote what is there.
    """
    there = _find_options(layout)
    return there if there is not None and replace(wished, encoder=there.encoder) == there else wished


def check_same(layout: Layout, proposed: Plan) -> None:
    """Look whether the dataset that was begun there is the one that is proposed.

    A lost or damaged plan is judged by the manifest, where there is one.

    Raises:
        UsageError: it is another one; the message says how they differ.
        NewerFormError: a newer release wrote it.
    """
    try:
        there = read_plan(layout.plan)
    except NewerFormError:
        raise
    except DatasetError as error:
        if _recorded_plan(layout) in (None, proposed.sha256):
            return
        raise UsageError(f"{error}, with --replace: the dataset there is another one") from error
    if there.sha256 == proposed.sha256:
        return
    old, new = (_flatten(json.loads(json.dumps(asdict(plan.options)))) for plan in (there, proposed))
    changed = [
        f"{name.replace('_', ' ')} {_show(old.get(name))}, now {_show(value)}"
        for name, value in new.items()
        if old.get(name) != value
    ]
    difference = "; ".join(changed) or (
        f"{there.num_samples} records in {len(there.shards)} shards, now {proposed.num_samples} in "
        f"{len(proposed.shards)}, or what is known of them changed"
    )
    raise UsageError(
        f"{layout.out}: holds another dataset ({difference}); choose another --out, or rebuild it with --replace "
        "(shards that stay the same are kept)"
    )


def find_maker(layout: Layout) -> dict[str, str]:
    """Return the version of this package that made the plan there, by the plan's SHA-256; nothing where none is known.

    Raises:
        NewerFormError: a newer release wrote it.
    """
    try:
        plan = read_plan(layout.plan)
        return {plan.sha256: plan.version}
    except NewerFormError:
        raise
    except DatasetError:
        with suppress(ManifestError):
            ours = read_manifest(layout.manifest).ours
            if isinstance(ours.get("plan_sha256"), str) and isinstance(ours.get("version"), str):
                return {ours["plan_sha256"]: ours["version"]}
    return {}


def _recorded_plan(layout: Layout) -> str | None:
    """Return the digest of the plan that the manifest was written by, or None where there is no such manifest.

    Raises:
        NewerFormError: a newer release wrote it.
    """
    try:
        return read_manifest(layout.manifest).ours.get("plan_sha256")
    except ManifestError:
        return None


def _find_options(layout: Layout) -> WriteOptions | None:
    """Return the options of the dataset there by its plan, or where that is lost by its manifest."""
    try:
        return read_plan(layout.plan).options
    except NewerFormError:
        raise
    except DatasetError:
        with suppress(ManifestError, UsageError, LookupError, TypeError, ValueError):
            return WriteOptions.from_json(read_manifest(layout.manifest).ours["options"])
    return None


def _flatten(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with those of nested groups beside the others."""
    nested = {name: value for group in options.values() if isinstance(group, dict) for name, value in group.items()}
    return {name: value for name, value in options.items() if not isinstance(value, dict)} | nested


def _show(value: Any) -> str:
    """Return an option as people write it, for instance `160x160` or `sci,com`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ("x" if all(isinstance(part, int) for part in value) else ",").join(map(str, value)) or "none"
    return "none" if value is None else str(value)
