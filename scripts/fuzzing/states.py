"""States of a loader: `shardforge.loader.state`, against the checksum in them."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from fuzzing.target import Target, parse_object, require, vary_json

from shardforge.errors import UsageError
from shardforge.loader.state import LoaderState, _digest

_SCHEDULE: dict[str, Any] = {
    "seed": 7,
    "batch_size": 6,
    "shuffle": 1000,
    "drop_last": True,
    "sampler": {"kind": "weighted", "weights": [0.5, 0.5], "power": None},
}


def make_seeds() -> list[bytes]:
    states = [LoaderState("f" * 64, _SCHEDULE, epoch, step).to_dict() for epoch, step in ((0, 0), (3, 1 << 40))]
    former = {"version": 1, "fingerprint": "f" * 64, "schedule": _SCHEDULE, "epoch": 1, "step": 2}
    return [json.dumps(state).encode() for state in (*states, former)]


def mend(data: bytes) -> bytes:
    """Return a state with the checksum made right."""
    state = parse_object(data)
    if state is None or "checksum" not in state:
        return data
    content = {name: value for name, value in state.items() if name != "checksum"}
    return json.dumps({**content, "checksum": _digest(content)}).encode()


def vary(data: bytes, random: Random) -> bytes:
    """Return a state with another value somewhere."""
    state = parse_object(data)
    return data if state is None else json.dumps(vary_json(state, random)).encode()


def check(data: bytes) -> None:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        state = LoaderState.from_dict(content)
    except UsageError:
        return
    require(parse_object(mend(data)) == content or content["version"] == 1, "its checksum is another one")
    require(LoaderState.from_dict(state.to_dict()) == state, "written anew it is another one")
    for rebatch in (False, True):
        try:
            fitted = state.fit("f" * 64, {**_SCHEDULE, "batch_size": 4 if rebatch else 6}, rebatch=rebatch)
        except UsageError:
            continue
        read, goes_on = state.step * state.schedule["batch_size"], fitted.step * (4 if rebatch else 6)
        require(read == goes_on and fitted.epoch == state.epoch, "it goes on elsewhere")


TARGET = Target(make_seeds, check, mend, vary, most=1 << 11)
