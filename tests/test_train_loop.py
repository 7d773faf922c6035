"""What a run keeps of its epochs, what it averages, computes in, and how it counts its speed."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from shardforge.errors import UsageError  # noqa: E402
from shardforge.train import meter  # noqa: E402
from shardforge.train.average import WeightAverage, scale_decay  # noqa: E402
from shardforge.train.checkpoint import (  # noqa: E402
    find_checkpoint,
    find_whole,
    list_checkpoints,
    prune_checkpoints,
    save_checkpoint,
    set_aside,
)
from shardforge.train.precision import choose_precision  # noqa: E402

pytestmark = pytest.mark.readers


@pytest.mark.parametrize(
    ("frequency", "keep_last", "kept"),
    [
        (3, None, [3, 5, 6, 8]),
        (3, 1, [5, 6, 8]),
        (2, 1, [5, 8]),
        (2, 3, [4, 5, 6, 8]),
        (2, 9, [2, 4, 5, 6, 8]),
        (1, 2, [5, 7, 8]),
    ],
)
def test_checkpoints_between_those_asked_for_stay_while_they_are_the_best_or_the_latest(
    tmp_path: Path, frequency: int, keep_last: int | None, kept: list[int]
) -> None:
    for epoch in range(1, 9):
        save_checkpoint(tmp_path, epoch, 0, {})
    save_checkpoint(tmp_path, 5, 30, {})
    prune_checkpoints(tmp_path, frequency, keep_last, best=5)
    assert [(saved.epoch, saved.step) for saved in list_checkpoints(tmp_path)] == [(epoch, 0) for epoch in kept]


def test_the_latest_checkpoint_or_that_of_an_epochs_end_is_found(tmp_path: Path) -> None:
    for epoch, step in ((1, 0), (9, 0), (9, 30), (9, 4), (10, 0), (10, 2)):
        save_checkpoint(tmp_path, epoch, step, {})
    (tmp_path / "checkpoint_0011.pt.old").touch()
    (tmp_path / "checkpoint_best.pt").touch()
    assert list_checkpoints(tmp_path)[-1].path.name == "checkpoint_0010_000002.pt"
    assert find_checkpoint(tmp_path, 9).name == "checkpoint_0009.pt"
    with pytest.raises(UsageError, match=r"no checkpoint of epoch 2 here \(epochs there are: 1, 9, 10\)"):
        find_checkpoint(tmp_path, 2)
    assert set_aside(tmp_path, 9) == 4
    assert [(saved.epoch, saved.step) for saved in list_checkpoints(tmp_path)] == [(1, 0), (9, 0)]
    assert (tmp_path / "checkpoint_0009_000004.pt.old").exists()
    with pytest.raises(UsageError, match=r"no checkpoint of epoch 3 here \(epochs there are: none\)"):
        find_checkpoint(tmp_path / "nowhere", 3)
    with pytest.raises(UsageError, match="no checkpoint here; check --out and --tag"):
        find_whole(tmp_path / "nowhere")


def test_average_follows_weights_and_copies_counts() -> None:
    model = torch.nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.75)
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    torch.nn.init.constant_(model.weight, 5.0)
    model.running_mean.fill_(4.0)
    model.num_batches_tracked.fill_(7)
    average.update(model)
    assert average.model.weight.tolist() == [2.0, 2.0]  # a quarter of the way from 1 to 5
    assert average.model.running_mean.tolist() == [1.0, 1.0]
    assert average.model.num_batches_tracked == 7
    average.update(model, follow=False)
    assert average.model.weight.tolist() == [5.0, 5.0]
    again = WeightAverage(torch.nn.BatchNorm1d(2), 0.75)
    again.load_state_dict(average.state_dict())
    assert again.model.running_mean.tolist() == [4.0, 4.0]


def test_decay_of_the_average_grows_with_the_length_of_the_run() -> None:
    assert scale_decay(0.99, images_per_step=10, steps=2, epochs=40) == pytest.approx(0.995)
    assert scale_decay(0.5, images_per_step=100, steps=2, epochs=10) == 0.0


@pytest.mark.parametrize(
    ("amp", "amp_dtype", "fast_matmul", "device", "dtype", "matmul"),
    [
        (False, "float16", False, "cpu", None, "highest"),
        (False, "float16", True, "cpu", None, "high"),
        (True, "float16", False, "cpu", torch.bfloat16, "high"),
        (True, "bfloat16", False, "cuda", torch.bfloat16, "high"),
        (True, "float16", False, "cuda", torch.float16, "high"),
    ],
)
def test_number_types_of_a_step(
    amp: bool, amp_dtype: str, fast_matmul: bool, device: str, dtype: Any, matmul: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    settings = SimpleNamespace(amp=amp, amp_dtype=amp_dtype, fast_matmul=fast_matmul)
    # Without a GPU, torch says aloud that it leaves a scaler out.
    scales = dtype == torch.float16
    without = pytest.warns(UserWarning, match="CUDA is not available")
    with without if scales and not torch.cuda.is_available() else nullcontext():
        found = choose_precision(settings, torch.device(device))
    assert (found.device, found.dtype, chosen) == (device, dtype, [matmul])
    assert found.scaler.is_enabled() == (scales and torch.cuda.is_available())


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
