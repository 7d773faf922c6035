"""What a run keeps of its epochs, and how it counts their speed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from shardforge.train import meter  # noqa: E402
from shardforge.train.checkpoint import list_checkpoints, prune_checkpoints, save_checkpoint  # noqa: E402

pytestmark = pytest.mark.readers


@pytest.mark.parametrize(("keep_last", "kept"), [(None, [2, 4, 5, 6, 7]), (1, [5, 6, 7])])
def test_checkpoints_between_those_asked_for_stay_while_they_are_the_best_or_the_latest(
    tmp_path: Path, keep_last: int | None, kept: list[int]
) -> None:
    for epoch in range(1, 8):
        save_checkpoint(tmp_path, epoch, 0, {})
    save_checkpoint(tmp_path, 5, 30, {})
    prune_checkpoints(tmp_path, 2, keep_last, best=5)
    assert [(saved.epoch, saved.step) for saved in list_checkpoints(tmp_path)] == [(epoch, 0) for epoch in kept]


def test_speed_counts_from_the_first_batch_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(meter, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    dataset: Any = None
    counted = meter.Meter(dataset)
    clock[0] += 100  # evaluation and writing of the epoch before
    for _ in counted.timed(range(2)):
        clock[0] += 4
        counted.add(torch.tensor(0.5), torch.zeros(8), 8)
    assert counted.look() == {"loss": 0.5, "images_per_second": 2.0, "data_wait": 0.0}
