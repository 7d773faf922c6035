"""Checkpoints: all that a run needs to go on, in one file that is either whole or not there.

torch.save gives each record of a file a CRC-32, which is compared before anything is loaded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from shardforge.errors import UsageError
from shardforge.files import atomic_write
from shardforge.train.records import check_records

VERSION = 1
#: What a run saves beside the version.
_PARTS = {"epoch", "step", "about", "loader", "meter", "begin", "best", "model", "average", "optimiser", "scaler"}
_NAME = re.compile(r"checkpoint_(\d+)(?:_(\d+))?\.pt")


class DamagedCheckpointError(UsageError):
    """A checkpoint was cut, or holds other bytes than were saved."""


class Saved(NamedTuple):
    """A checkpoint: finished epochs, and steps of the next one."""

    epoch: int
    step: int
    path: Path


def save_checkpoint(folder: Path, epoch: int, step: int, content: dict[str, Any]) -> Path:
    """Write a checkpoint after `epoch` epochs and `step` batches of the next; return its path."""
    path = folder / (f"checkpoint_{epoch:04d}_{step:06d}.pt" if step else f"checkpoint_{epoch:04d}.pt")
    with atomic_write(path) as file:
        torch.save({"version": VERSION, "epoch": epoch, "step": step, **content}, file)
    return path


def check_checkpoint(path: Path) -> None:
    """Compare a checkpoint with its checksums.

    Raises:
        DamagedCheckpointError: it is not as it was saved.
        UsageError: it is not there, or cannot be read.
    """
    try:
        check_records(path)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such checkpoint; see the folder for those there are") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); see to the file and its disk") from error
    except ValueError as error:
        raise DamagedCheckpointError(
            f"{path}: no whole checkpoint ({error}); delete it, and --resume takes the one before"
        ) from error


def load_checkpoint(path: Path, *, checked: bool = False) -> dict[str, Any]:
    """Return what was saved; nothing but tensors and plain values is unpickled.

    Raises:
        UsageError: the file is not there, damaged (which is not looked for in one that was `checked`), or no checkpoint
            of ours.
    """
    if not checked:
        check_checkpoint(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such checkpoint; see the folder for those there are") from error
    except Exception as error:  # bytes that are no pickle can raise anything
        raise UsageError(f"{path}: no whole checkpoint; delete it, and --resume takes the one before") from error
    if not isinstance(content, dict) or content.get("version") != VERSION or not _is_whole(content):
        raise UsageError(f"{path}: no checkpoint of this program's version {VERSION}; start from exported weights")
    return content


def _is_whole(content: dict[str, Any]) -> bool:
    """Tell whether all is there that going on needs; what tensors fit the model shows when they are loaded."""
    dicts = (content.get("about"), content.get("model"), content.get("average") or {})
    return all(isinstance(part, dict) for part in dicts) and content.keys() >= _PARTS and "task" in content["about"]


def list_checkpoints(folder: Path) -> list[Saved]:
    """Return the checkpoints of a folder, the oldest first."""
    found = [(match, path) for path in folder.glob("checkpoint_*.pt") if (match := _NAME.fullmatch(path.name))]
    return sorted(Saved(int(match[1]), int(match[2] or 0), path) for match, path in found)


def find_checkpoint(folder: Path, epoch: int) -> Path:
    """Return the checkpoint of the end of an epoch.

    Raises:
        UsageError: there is none.
    """
    saved = list_checkpoints(folder)
    wanted = [one for one in saved if (one.epoch, one.step) == (epoch, 0)]
    if not wanted:
        known = ", ".join(str(one.epoch) for one in saved if not one.step) or "none"
        raise UsageError(
            f"{folder}: no checkpoint of epoch {epoch} here (epochs there are: {known}); "
            "check --out, --tag and the names of network and encoder"
        )
    return wanted[-1].path


def find_whole(folder: Path) -> tuple[Path, list[str]]:
    """Return the latest checkpoint that is as it was saved, and of those after it why each is not.

    Raises:
        UsageError: there is none; the message is about the latest.
    """
    left: list[DamagedCheckpointError] = []
    for one in reversed(list_checkpoints(folder)):
        try:
            check_checkpoint(one.path)
        except DamagedCheckpointError as error:
            left.append(error)
        else:
            return one.path, [str(error.__cause__) for error in left]
    raise left[0] if left else UsageError(f"{folder}: no checkpoint here; check --out and --tag")


def set_damaged_aside(folder: Path, whole: Path) -> list[Path]:
    """Rename the checkpoints after the latest whole one to `.pt.damaged`: they would count as the latest."""
    saved = [one.path for one in list_checkpoints(folder)]
    return [path.rename(path.with_suffix(".pt.damaged")) for path in saved[saved.index(whole) + 1 :]]


def set_aside(folder: Path, epoch: int) -> int:
    """Rename the checkpoints after an epoch to `.pt.old`, which nothing goes on from; return how many there were."""
    later = [one.path for one in list_checkpoints(folder) if (one.epoch, one.step) > (epoch, 0)]
    for path in later:
        path.rename(path.with_suffix(".pt.old"))
    return len(later)


def prune_checkpoints(folder: Path, frequency: int, keep_last: int | None, best: int | None) -> None:
    """Keep the latest checkpoint, the best epoch's, and of those of every `frequency`-th epoch the last N, or all."""
    saved = list_checkpoints(folder)
    ends = [one for one in saved if not one.step and one.epoch % frequency == 0]
    kept = {one.epoch for one in (ends[-keep_last:] if keep_last else ends)} | {best}
    for one in saved[:-1]:
        if one.step or one.epoch not in kept:
            one.path.unlink(missing_ok=True)
