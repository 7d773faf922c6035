"""What goes wrong in training ends with one sentence, in time, and with nothing lost that was saved."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pipeline import copy_images, prepare, write

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from shardforge.loader.dataset import ShardDataset  # noqa: E402
from shardforge.train.checkpoint import list_checkpoints, load_checkpoint  # noqa: E402
from shardforge.train.finetune import main as finetune  # noqa: E402
from shardforge.train.mim import main as mim  # noqa: E402
from shardforge.train.step import Stepper  # noqa: E402

pytestmark = [pytest.mark.readers, pytest.mark.usefixtures("one_thread")]

_SHARED = ("--size", "32", "--opt", "adamw", "--workers", "0", "--device", "cpu")
_TINY = ("embed_dim=32", "depth=1", "num_heads=2")
_FINETUNE = ("--network", "vit_tiny_patch16_224", "--model-config", *_TINY, *_SHARED)
_MIM = (
    *("--network", "mae_vit", "--encoder", "vit_tiny_patch16_224", "--model-config", "width=32", "depth=1"),
    *("--encoder-model-config", *_TINY, *_SHARED),
)
_TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return shards with 36 images to train on and 9 to validate on."""
    folder = tmp_path_factory.mktemp("faults")
    images = copy_images(photos, folder / "images", 1)
    write(prepare(folder, f"photos=folder:{images}"), folder / "shards")
    return folder / "shards"


@pytest.fixture
def shards(packed: Path, tmp_path: Path) -> Path:
    """Return a copy of the shards to spoil."""
    return Path(shutil.copytree(packed, tmp_path / "shards"))


def fail(command: Any, *words: object, code: int = 1) -> str:
    """Run a trainer that must end with this status and one sentence; return the sentence."""
    result = CliRunner().invoke(command, [str(word) for word in words])
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line


def at_update(number: int, action: Callable[[], object]) -> Any:
    """Return `Stepper.update` that does something before the step of this number."""
    update = Stepper.update

    def acting(stepper: Stepper, **options: Any) -> None:
        if stepper.updates == number:
            action()
        update(stepper, **options)

    return acting


def two_epochs(shards: Path, out: Path) -> tuple[object, ...]:
    return ("--data-path", shards, "--epochs", 2, "--out", out)


def saved_in(out: Path) -> list[tuple[int, int]]:
    return [(saved.epoch, saved.step) for folder in out.glob("*") for saved in list_checkpoints(folder)]


@pytest.mark.parametrize(
    ("method", "encoder", "sentence"),
    [
        ("mae_hiera", "vit_tiny_patch16_224", "such as hiera_small, not vit_tiny_patch16_224"),
        ("mae_hiera", "convnext_v2_atto", "such as hiera_small, not convnext_v2_atto"),
        ("fcmae", "vit_tiny_patch16_224", "Choose a ConvNeXt or RegNet encoder"),
        ("mae_vit", "convnext_v2_atto", "needs a vision transformer"),
        ("crossmae", "hiera_small", "needs a vision transformer"),
        ("dbot", "vit_sam_b16", "needs an encoder that can drop tokens"),
    ],
)
def test_method_names_the_encoders_that_fit(method: str, encoder: str, sentence: str, shards: Path) -> None:
    words = ("--network", method, "--encoder", encoder, "--data-path", shards, "--smoke")
    assert sentence in fail(mim, *words, "--device", "cpu", code=2)


def test_shard_that_breaks_in_mid_run_loses_nothing(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*_MIM, *two_epochs(shards, tmp_path / "out"), "--batch-size", 6, "--save-steps", 2)
    tars = sorted((shards / "train").glob("*.tar"))
    whole = {tar: tar.read_bytes() for tar in tars}

    def cut_all() -> None:
        for tar in tars:
            os.truncate(tar, 1024)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "update", at_update(3, cut_all))
        assert str(shards / "train") in fail(mim, *words)
    assert saved_in(tmp_path / "out") == [(0, 4)]
    for tar, data in whole.items():
        tar.write_bytes(data)
    result = CliRunner().invoke(mim, [str(word) for word in (*words, "--resume")])
    assert result.exit_code == 0, result.stderr
    assert "0 epochs and 4 batches are done" in result.stderr


def test_image_that_vanishes_in_mid_run_is_named(
    image_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*_MIM, "--batch-size", 4, "--data-path", image_tree, "--epochs", 1, "--out", tmp_path / "out")
    patched = at_update(0, lambda: shutil.rmtree(image_tree))
    monkeypatch.setattr(Stepper, "update", patched)
    line = fail(mim, *words)
    assert str(image_tree) in line
    assert "is gone" in line


def test_loss_that_is_no_number_names_the_batch_and_is_not_saved(shards: Path, tmp_path: Path) -> None:
    words = (*_MIM, *two_epochs(shards, tmp_path / "out"), "--batch-size", 12, "--save-steps", 1)
    line = fail(mim, *words, "--lr", "1e30")
    keys = line.partition("samples: ")[2].partition(";")[0].split()
    assert len(keys) == 12
    assert set(keys) <= set(ShardDataset(shards, split="train").keys)
    for path in (tmp_path / "out").glob("*/checkpoint_*.pt"):
        assert load_checkpoint(path)["meter"]["sum"] < 100


@pytest.mark.parametrize("error", ["gpu", "cpu"])
def test_too_little_memory_says_what_to_change(
    error: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust() -> None:
        if error == "gpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        torch.empty(1 << 50)

    monkeypatch.setattr(Stepper, "update", at_update(1, exhaust))
    line = fail(mim, *_MIM, "--batch-size", 12, "--data-path", shards, "--out", tmp_path / "out")
    assert "--batch-size" in line
    assert "--grad-accum-steps" in line


def test_checkpoints_of_other_origin_are_refused(shards: Path, tmp_path: Path) -> None:
    words = (*_FINETUNE, "--batch-size", 12, "--data-path", shards, "--epochs", 1, "--out", tmp_path / "out")
    folder = tmp_path / "out" / "vit_tiny_patch16_224"
    folder.mkdir(parents=True)
    path = folder / "checkpoint_0001.pt"
    torch.save({"model": torch.nn.Linear(2, 2).state_dict(), "epoch": 3}, path)
    assert "no checkpoint of this program" in fail(finetune, *words, "--resume", code=2)
    assert "no checkpoint of this program" in fail(finetune, *words, "--init-from", path, code=2)
    torch.save({"version": 1, "model": torch.nn.Linear(2, 2)}, path)  # a pickled object, which might run code
    assert "no whole checkpoint" in fail(finetune, *words, "--resume", code=2)
    path.write_bytes(path.read_bytes()[:100])
    assert "no whole checkpoint" in fail(finetune, *words, "--resume", code=2)
    path.unlink()
    assert "there is no such checkpoint" in fail(finetune, *words, "--init-from", path, code=2)
    CliRunner().invoke(finetune, [str(word) for word in words])
    other = [str(word).replace("depth=1", "depth=2") for word in words]
    assert "another model" in fail(finetune, *other, "--resume", "--epochs", 2, code=2)


def test_classes_that_differ_are_refused(shards: Path, image_tree: Path, tmp_path: Path) -> None:
    other = ("--data-path", shards, "--val-path", image_tree, "--out", tmp_path / "out")
    assert "'birds'" in fail(finetune, *_FINETUNE, *other, code=2)
    names = (shards / "classes.txt").read_text().split()
    reversed_names = tmp_path / "reversed.txt"
    reversed_names.write_text("\n".join(reversed(names)))
    moved = shutil.copytree(shards, tmp_path / "moved")
    shutil.copy(reversed_names, moved / "classes.txt")
    mixed = ("--data-path", shards, moved, "--out", tmp_path / "out")
    assert "different classes" in fail(finetune, *_FINETUNE, *mixed, code=2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--auto-scale-lr", "--lr-scale", "512"), "leave out --lr-scale"),
        (("--base-batch-size", "512"), "says what --auto-scale-lr starts from"),
        (("--probe-norm",), "add --freeze-body"),
        (("--class-balanced", "--oversample-thr", "0.1"), "both say how often an image is shown"),
        (("--class-balanced", "--data-weights", "1"), "both say how often an image is shown"),
        (("--data-weights", "1", "2"), "2 numbers for 1 places"),
        (("--repeat", "2", "--wds-train-size", "12"), "both say how long an epoch is"),
        (("--knn-every", "1", "--knn-path", "IMAGES"), "different classes"),
    ],
)
def test_options_that_contradict_each_other(
    words: tuple[str, ...], sentence: str, shards: Path, image_tree: Path, tmp_path: Path
) -> None:
    given = [str(image_tree) if word == "IMAGES" else word for word in words]
    line = fail(finetune, *_FINETUNE, "--data-path", shards, *given, "--out", tmp_path / "out", code=2)
    assert sentence in line


def test_killed_process_ends_the_run_in_time_and_it_can_be_resumed(packed: Path, tmp_path: Path) -> None:
    words = [*_MIM, "--batch-size", "6", "--data-path", str(packed), "--save-steps", "1", "--out", str(tmp_path)]
    command = [*_TORCHRUN, "-m", "shardforge.train.mim", *words, "--epochs", "10000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            while (1, 0) not in saved_in(tmp_path):
                assert run.poll() is None, run.communicate()[1][-3000:]
                time.sleep(0.05)
            ranks = [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
            second = next(pid for pid in ranks if b"LOCAL_RANK=1" in Path(f"/proc/{pid}/environ").read_bytes())
            os.kill(second, signal.SIGKILL)
            _, said = run.communicate(timeout=60)
        finally:
            run.terminate()
    assert run.returncode != 0
    assert re.search(r"^\w+: .*another process of this run ended.* --resume\.?$", said, re.MULTILINE), said[-3000:]
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)
    epoch, step = saved_in(tmp_path)[-1]
    alone = [*words, "--batch-size", "12", "--epochs", str(epoch + 1), "--resume"]
    result = CliRunner().invoke(mim, alone)
    assert result.exit_code == 0, result.stderr
    assert f"{epoch} epochs and {step} batches are done" in result.stderr
