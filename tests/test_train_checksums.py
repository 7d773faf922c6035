"""Checkpoints, weights and features that were cut or damaged are noticed before anything is made of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from safetensors.torch import save_file  # noqa: E402

from shardforge.errors import UsageError  # noqa: E402
from shardforge.train.checkpoint import (  # noqa: E402
    DamagedCheckpointError,
    find_whole,
    load_checkpoint,
    save_checkpoint,
    set_damaged_aside,
)
from shardforge.train.use.feature_files import ROWS, finish_features, open_features, write_part  # noqa: E402
from shardforge.train.weights import Weights, read_weights, write_weights  # noqa: E402

pytestmark = pytest.mark.readers


def content() -> dict[str, Any]:
    """Return what a run saves, in small."""
    torch.manual_seed(3)
    names = ("loader", "meter", "begin", "best", "average", "optimiser", "scaler")
    model = {"weight": torch.randn(30, 20), "bias": torch.zeros(3, dtype=torch.bfloat16), "count": torch.tensor(7)}
    return {**dict.fromkeys(names), "about": {"task": "mim"}, "model": model}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def flips(data: bytes, count: int) -> Iterator[bytes]:
    for place in np.random.default_rng(17).choice(8 * len(data), count, replace=False).tolist():
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


def test_flipped_bits_of_a_checkpoint_are_noticed_or_harmless(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 3, 0, content())
    whole, expected = path.read_bytes(), load_checkpoint(path)
    noticed = 0
    for damaged in flips(whole, 1_500):
        path.write_bytes(damaged)
        try:
            assert same(load_checkpoint(path), expected)
        except UsageError as error:
            noticed += "checkpoint" in str(error)
    assert noticed > 500  # the others lie in what fills up the blocks of the archive


def test_a_flipped_bit_of_any_number_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 3, 0, content())
    whole = path.read_bytes()
    start = whole.index(content()["model"]["weight"].numpy().tobytes())
    for place in range(start, start + 4 * 600, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(DamagedCheckpointError, match=r"no whole checkpoint \(its record '.*data/\d' is damaged\)"):
            load_checkpoint(path)


def test_a_checkpoint_that_was_cut_is_noticed_at_any_length(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 3, 0, content())
    whole = path.read_bytes()
    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedCheckpointError, match="no whole checkpoint"):
            load_checkpoint(path)


def test_the_latest_whole_checkpoint_is_found_and_damaged_ones_step_aside(tmp_path: Path) -> None:
    first, second, third, last = (
        save_checkpoint(tmp_path, epoch, step, content()) for epoch, step in ((1, 0), (1, 4), (2, 0), (2, 6))
    )
    os.truncate(last, 700)
    third.write_bytes(b"")
    path, why = find_whole(tmp_path)
    assert path == second
    assert len(why) == 2
    aside = set_damaged_aside(tmp_path, path)
    assert [place.name for place in aside] == ["checkpoint_0002.pt.damaged", "checkpoint_0002_000006.pt.damaged"]
    assert find_whole(tmp_path) == (second, [])
    second.unlink()
    os.truncate(first, 700)
    with pytest.raises(DamagedCheckpointError, match=r"checkpoint_0001\.pt: no whole checkpoint"):
        find_whole(tmp_path)


def test_links_to_checkpoints_are_set_aside_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    whole = save_checkpoint(tmp_path / "run", 1, 0, content())
    (tmp_path / "thesis").write_bytes(b"mine")
    (tmp_path / "run" / "checkpoint_0002.pt").symlink_to(tmp_path / "thesis")
    assert find_whole(tmp_path / "run")[0] == whole
    set_damaged_aside(tmp_path / "run", whole)
    assert (tmp_path / "thesis").read_bytes() == b"mine"


def read(path: Path) -> Weights:
    return read_weights(path)


def test_flipped_bits_and_cuts_of_weights_are_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(path, content()["model"], {"task": "mim", "classes": ["a", "b"]})
    whole, expected = path.read_bytes(), read(path)
    for damaged in (*flips(whole, 2_000), *(whole[:length] for length in range(0, len(whole), 97)), whole + b"\0"):
        path.write_bytes(damaged)
        try:
            found = read(path)
        except UsageError:
            continue
        assert found.about == expected.about
        assert same(found.state, expected.state)


def test_weights_without_a_checksum_are_read(tmp_path: Path) -> None:
    save_file(content()["model"], tmp_path / "a.safetensors")
    assert same(read(tmp_path / "a.safetensors").state, content()["model"])


@pytest.fixture(params=["parquet", "npy"])
def features(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    part: dict[str, Any] = {"format": request.param, "width": 4, "dtype": "float32"}
    rows = pa.table([[f"k{i}" for i in range(50)], range(50), pa.array([1] * 50, pa.int32())], schema=ROWS)
    with write_part(tmp_path, 0, **part) as add:
        add(rows, np.arange(200, dtype=np.float32).reshape(50, 4))
    finish_features(tmp_path, {**part, "parts": [f"part-00000.{request.param}"]})
    return tmp_path


def vectors(folder: Path) -> np.ndarray:
    found = open_features(folder)
    assert len(found.rows) == 50
    return np.concatenate(list(found.blocks(7)))


def test_features_are_read_as_they_were_written(features: Path) -> None:
    assert vectors(features).tolist() == np.arange(200).reshape(50, 4).tolist()
    about = json.loads((features / "features.json").read_text())
    del about["sizes"]  # as it was before
    (features / "features.json").write_text(json.dumps(about))
    assert vectors(features).tolist() == np.arange(200).reshape(50, 4).tolist()


@pytest.mark.parametrize(
    "damage",
    [
        lambda part: os.truncate(part, part.stat().st_size - 16),
        lambda part: part.write_bytes(part.read_bytes() + b"x"),
        lambda part: os.truncate(part, 0),
        lambda part: part.unlink(),
    ],
)
def test_features_that_were_cut_are_named(damage: Callable[[Path], None], features: Path) -> None:
    for part in sorted(features.glob("part-*")):
        whole = part.read_bytes()
        damage(part)
        with pytest.raises(UsageError, match=rf"{part.name}: .*; extract the features again"):
            vectors(features)
        part.write_bytes(whole)


@pytest.mark.parametrize("name", ["../x.npy", "/etc/passwd", "", "..", 3, "a/b.npy"])
def test_parts_of_features_lie_in_their_folder(name: object, features: Path) -> None:
    about = json.loads((features / "features.json").read_text())
    (features / "features.json").write_text(json.dumps({**about, "parts": [name]}))
    with pytest.raises(UsageError, match="no finished features"):
        open_features(features)


@pytest.mark.parametrize("part", [None, "version", "epoch", "step", *content(), "task"])
def test_a_checkpoint_without_one_of_its_parts_is_refused(tmp_path: Path, part: str | None) -> None:
    saved = {"version": 1, "epoch": 3, "step": 0, **content()}
    (saved["about"] if part == "task" else saved).pop(part, None)
    path = tmp_path / "checkpoint_0003.pt"
    torch.save(saved, path)
    if part is None:
        assert same(load_checkpoint(path), saved)
        return
    with pytest.raises(UsageError, match="no checkpoint of this program's version 1; start from exported weights"):
        load_checkpoint(path)
