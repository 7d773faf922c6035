"""The state of a loader: all that another run needs to go on with the next batch, as plain JSON with a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shardforge.errors import UsageError

VERSION = 2
#: Of states that have no checksum yet.
_FORMER = 1
_CHECKSUM = "checksum"


@dataclass(frozen=True)
class LoaderState:
    """Where a run stands: `step` batches of `epoch` were handed out.

    `fingerprint` stands for the data and `schedule` is what `Schedule.describe` says. The number of ranks and workers,
    and what they had read ahead, is no part of it.
    """

    fingerprint: str
    schedule: dict[str, Any]
    epoch: int
    step: int

    def to_dict(self) -> dict[str, Any]:
        """Return the state as the dict that `state_dict()` hands out."""
        state = {"version": VERSION, **asdict(self)}
        return {**state, _CHECKSUM: _digest(state)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> LoaderState:
        """Return the state that `to_dict` gave.

        Raises:
            UsageError: it is of another version, damaged, or no such state.
        """
        version = state.get("version") if isinstance(state, Mapping) else None
        if type(version) is not int or version not in (_FORMER, VERSION):
            raise UsageError(f"loader state: has version {version}, this version reads {VERSION}")
        content = dict(state)
        try:
            whole = version == _FORMER or content.pop(_CHECKSUM, None) == _digest(content)
            found = cls(**{name: value for name, value in content.items() if name != "version"})
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"loader state: {error}; give what state_dict() returned") from error
        if not whole:
            raise UsageError("loader state: is damaged (another checksum than it says); take an earlier one")
        counts = (found.epoch, found.step)
        if not all(type(count) is int and count >= 0 for count in counts) or not isinstance(found.schedule, dict):
            raise UsageError("loader state: epoch and step must be numbers from 0 on; give what state_dict() returned")
        return found

    def fit(self, fingerprint: str, schedule: dict[str, Any], *, rebatch: bool = False) -> LoaderState:
        """Return this state for a loader over the data `fingerprint` and the batches that `schedule` describes.

        With `rebatch` the batch size may be another one, where the samples handed out are a whole number of the new
        batches: the sequence of samples does not depend on it.

        Raises:
            UsageError: the loader would go on with other samples than the interrupted run.
        """
        if fingerprint != self.fingerprint:
            raise UsageError("loader state: is of other data than this loader reads; give the loader the same shards")
        was = {**self.schedule, "batch_size": schedule["batch_size"]} if rebatch else self.schedule
        if different := _compare(was, schedule):
            name, then, now = different[0]
            raise UsageError(f"loader state: {name} was {then} and is now {now}; give the loader what it had")
        old, new = self.schedule.get("batch_size"), schedule["batch_size"]
        if not isinstance(old, int) or old < 1:
            raise UsageError(f"loader state: its batch size is {old!r}; give what state_dict() returned")
        step, rest = divmod(self.step * old, new)
        if rest:
            raise UsageError(
                f"loader state: {self.step} batches of {old} are no whole number of batches of {new}; keep the global "
                "batch size until the end of the epoch"
            )
        return LoaderState(fingerprint, schedule, self.epoch, step)


def _digest(state: Mapping[str, Any]) -> str:
    """Return the checksum of a state, the same before and after it has been JSON."""
    plain = json.loads(json.dumps(dict(state)))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _compare(then: Any, now: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Return name, old and new value of what differs between two descriptions, the innermost values only."""
    if isinstance(then, dict) and isinstance(now, dict):
        parts = dict.fromkeys([*then, *now])
        return [found for part in parts for found in _compare(then.get(part), now.get(part), part)]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        return [found for pair in zip(then, now, strict=True) for found in _compare(*pair, name)]
    return [] if then == now else [(name, then, now)]
