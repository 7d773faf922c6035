"""A run that is interrupted and gone on with ends as one that was not, to the bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pipeline import copy_images, prepare, write

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from shardforge.train.checkpoint import list_checkpoints, load_checkpoint  # noqa: E402
from shardforge.train.finetune import main as finetune  # noqa: E402
from shardforge.train.handover import find_weights  # noqa: E402
from shardforge.train.log import read_log  # noqa: E402
from shardforge.train.mim import main as mim  # noqa: E402
from shardforge.train.recipe.settings import FinetuneSettings  # noqa: E402
from shardforge.train.step import Stepper  # noqa: E402
from shardforge.train.weights import read_weights, write_weights  # noqa: E402

pytestmark = pytest.mark.readers

_TINY = ("embed_dim=32", "depth=2", "num_heads=2")
_SHARED = ("--size", "32", "--batch-size", "12", "--opt", "adamw", "--lr", "1e-3", "--workers", "0")
_MIM = (
    *("--network", "mae_vit", "--encoder", "vit_tiny_patch16_224", "--model-config", "width=32", "depth=1"),
    *("--encoder-model-config", *_TINY, "drop_path_rate=0.2", "--lr-scheduler", "cosine", *_SHARED),
)
_FINETUNE = (
    *("--network", "vit_tiny_patch16_224", "--model-config", *_TINY, "drop_path_rate=0.2", *_SHARED),
    *("--mixup-alpha", "0.8", "--cutmix", "--model-ema", "--model-ema-steps", "1", "--aug-level", "4"),
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return shards with about 70 images to train on."""
    folder = tmp_path_factory.mktemp("resume")
    images = copy_images(photos, folder / "images", 2)
    write(prepare(folder, f"photos=folder:{images}"), folder / "shards")
    return folder / "shards"


def run(command: Any, *words: object) -> None:
    command.main([str(word) for word in words], standalone_mode=False)


def final_state(out: Path, epoch: int) -> dict[str, Any]:
    return load_checkpoint(next(out.glob(f"*/checkpoint_{epoch:04d}.pt")))


def assert_equal(one: Any, other: Any) -> None:
    """Compare nested states, tensors to the bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_equal(one[name], other[name])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, list | tuple):
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    else:
        assert one == other


@pytest.mark.parametrize(
    ("command", "words"),
    [(mim, (*_MIM, "--grad-accum-steps", "2", "--lr-scheduler-update", "step")), (finetune, _FINETUNE)],
    ids=["mim", "finetune"],
)
def test_resumed_in_mid_epoch_ends_bit_equal(
    command: Any, words: tuple[str, ...], shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*words, "--data-path", str(shards), "--epochs", "2", "--save-frequency", "1", "--log-steps", "1")
    run(command, *words, "--out", tmp_path / "whole")
    updates = final_state(tmp_path / "whole", 2)["updates"]
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "update", interrupt_at(updates - 1, Stepper.update))
        with pytest.raises(SystemExit):
            run(command, *words, "--out", tmp_path / "cut", "--save-steps", "1")
    (folder,) = (tmp_path / "cut").iterdir()
    assert [(saved.epoch, saved.step > 0) for saved in list_checkpoints(folder)] == [(1, False), (1, True)]
    run(command, *words, "--out", tmp_path / "cut", "--resume")
    whole, resumed = final_state(tmp_path / "whole", 2), final_state(tmp_path / "cut", 2)
    for part in ("model", "average", "optimiser", "updates", "meter"):
        assert_equal(whole[part], resumed[part])
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: data[:9_000] + bytes([data[9_000] ^ 1]) + data[9_001:]]
)
def test_a_damaged_checkpoint_is_left_for_the_one_before(
    damage: Any, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*_MIM, "--data-path", str(shards), "--epochs", "2", "--save-frequency", "1")
    run(mim, *words, "--out", tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "update", interrupt_at(8, Stepper.update))
        with pytest.raises(SystemExit):
            run(mim, *words, "--out", tmp_path / "cut", "--save-steps", "1")
    (folder,) = (tmp_path / "cut").iterdir()
    latest = list_checkpoints(folder)[-1].path
    latest.write_bytes(damage(latest.read_bytes()))
    capsys.readouterr()
    run(mim, *words, "--out", tmp_path / "cut", "--resume", "--save-steps", "1")
    said = capsys.readouterr().err
    assert f"left {latest}: " in said
    assert f"it is {latest.name}.damaged now" in said
    assert f"resumed from {folder}/checkpoint_0001.pt: 1 epochs and 0 batches are done" in said
    assert_equal(final_state(tmp_path / "whole", 2)["model"], final_state(tmp_path / "cut", 2)["model"])


def interrupt_at(updates: int, update: Any) -> Any:
    """Return `Stepper.update` that is interrupted as by Ctrl-C."""

    def interrupted(stepper: Stepper, **options: Any) -> None:
        if stepper.updates == updates:
            raise KeyboardInterrupt
        update(stepper, **options)

    return interrupted


def losses(out: Path) -> dict[int, float]:
    """Return the loss of each step, of those taken twice the later one."""
    (folder,) = out.iterdir()
    return {record["update"]: record["loss"] for record in read_log(folder) if record["kind"] == "step"}


def test_pretrained_encoder_loads_into_plain_timm_and_fine_tunes(shards: Path, tmp_path: Path) -> None:
    import timm

    run(mim, *_MIM, "--data-path", shards, "--epochs", "1", "--out", tmp_path)
    weights = read_weights(next(tmp_path.glob("*/vit_tiny_patch16_224_mim_1.safetensors")))
    timm.create_model(weights.about["model"], **weights.about["arguments"]).load_state_dict(weights.state)
    words = (*_FINETUNE, "--data-path", shards, "--epochs", "1", "--out", tmp_path)
    run(finetune, *words, "--tag", "mim", "--resume-epoch", "0", "--freeze-body")
    tuned = read_weights(tmp_path / "vit_tiny_patch16_224_mim" / "best.safetensors")
    assert torch.equal(tuned.state["blocks.0.attn.qkv.weight"], weights.state["blocks.0.attn.qkv.weight"])
    assert tuned.about["classes"] == (shards / "classes.txt").read_text().splitlines()


def test_new_run_leaves_the_checkpoints_of_another_alone(shards: Path, tmp_path: Path) -> None:
    words = (*_MIM, "--data-path", shards, "--epochs", "3", "--out", tmp_path)
    run(mim, *words, "--stop-epoch", "2")
    (folder,) = tmp_path.iterdir()
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}
    refused = CliRunner().invoke(mim, [str(word) for word in words])
    assert refused.exit_code == 2
    assert "holds a run already, up to checkpoint_0002.pt; --resume goes on with it" in refused.stderr
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*")} == before
    run(mim, *words, "--resume-epoch", "1", "--stop-epoch", "1")  # nothing to do but to set the later one aside
    assert [saved.epoch for saved in list_checkpoints(folder)] == [1]
    assert (folder / "checkpoint_0002.pt.old").exists()
    run(mim, *words, "--smoke")
    assert (tmp_path / "smoke" / folder.name / "checkpoint_0001.pt").exists()


def test_epoch_to_go_on_from_is_one_of_fine_tuning(tmp_path: Path) -> None:
    for folder, task in (("net_mim", "finetune"), ("mae_vit_net", "mim")):  # the newer one is of pre-training
        (tmp_path / folder).mkdir()
        write_weights(tmp_path / folder / "net_mim_3.safetensors", {"weight": torch.zeros(1)}, {"task": task})
    found = find_weights(FinetuneSettings(network="net", tag="mim", resume_epoch=3, out=str(tmp_path)))
    assert found is not None
    assert found.about["task"] == "finetune"


def test_two_processes_train_as_one(shards: Path, tmp_path: Path) -> None:
    words = [*_MIM, "--data-path", str(shards), "--epochs", "1", "--batch-size", "6", "--find-unused-parameters"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    result = subprocess.run(
        [*torchrun, "-m", "shardforge.train.mim", *words, "--out", str(tmp_path / "two")],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert "2 processes, batch 12 a step" in result.stderr
    state = final_state(tmp_path / "two", 1)
    assert not any(name.startswith("module.") for name in state["model"])
