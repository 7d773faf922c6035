"""dBOT: stages with a teacher that is an earlier self, resuming, and the published recipes of fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pipeline import copy_images, prepare, write

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from shardforge.train.checkpoint import load_checkpoint  # noqa: E402
from shardforge.train.finetune import main as finetune  # noqa: E402
from shardforge.train.log import read_log  # noqa: E402
from shardforge.train.mim import main as mim  # noqa: E402
from shardforge.train.recipe.options import RECIPES  # noqa: E402
from shardforge.train.recipe.settings import FinetuneSettings, scale_rate  # noqa: E402

pytestmark = [pytest.mark.readers, pytest.mark.usefixtures("one_thread")]

_DBOT = (
    *("--network", "dbot", "--encoder", "vit_tiny_patch16_224", "--model-config", "width=32", "depth=1"),
    *("--encoder-model-config", "embed_dim=32", "depth=2", "num_heads=2", "drop_path_rate=0.2"),
    *("--size", "32", "--batch-size", "12", "--opt", "adamw", "--workers", "0", "--device", "cpu"),
    *("--lr-scheduler", "cosine", "--lr-scheduler-update", "step"),
)

#: Rate of the layers nearest to the head, of 32 processes in fine-tuning and 8 in transfer.
_RATES = {
    "dbot_base_finetune": (32, 3e-4 * 4),
    "dbot_large_finetune": (32, 3e-4 * 4),
    "dbot_huge_finetune_224": (32, 3e-4 * 4),
    "dbot_huge_finetune_448": (32, 7e-5 * 4),
    "dbot_base_transfer": (8, 7.5e-6 * 1.5),
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return shards with 36 images to train on and 9 to validate on."""
    folder = tmp_path_factory.mktemp("dbot")
    images = copy_images(photos, folder / "images", 1)
    write(prepare(folder, f"photos=folder:{images}"), folder / "shards")
    return folder / "shards"


def run(command: Any, *words: object) -> None:
    command.main([str(word) for word in words], standalone_mode=False)


def model_after(out: Path, epoch: int) -> dict[str, torch.Tensor]:
    (path,) = out.glob(f"*/checkpoint_{epoch:04d}.pt")
    model: dict[str, torch.Tensor] = load_checkpoint(path)["model"]
    return model


def part(model: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(name): value for key, value in model.items() if key.startswith(name)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_run_of_two_stages_resumes_bit_equal_with_its_teacher(shards: Path, tmp_path: Path) -> None:
    words = (*_DBOT, "--data-path", shards, "--lr", 0.01, "--epochs", 4, "--stage-epochs", 2)
    run(mim, *words, "--out", tmp_path / "whole")
    run(mim, *words, "--out", tmp_path / "cut", "--stop-epoch", 3)
    run(mim, *words, "--out", tmp_path / "cut", "--resume")
    first, second, last = (model_after(tmp_path / "whole", epoch) for epoch in (2, 3, 4))
    assert same(part(second, "teacher."), part(first, "encoder."))
    assert same(part(last, "teacher."), part(first, "encoder."))
    assert same(last, model_after(tmp_path / "cut", 4))
    (folder,) = (tmp_path / "whole").iterdir()
    rates = {record["epoch"]: record["lr"] for record in read_log(folder) if record["kind"] == "step"}
    assert rates[1] == rates[3] > rates[2] == rates[4]  # the schedule begins again


def test_every_stage_draws_a_new_student(shards: Path, tmp_path: Path) -> None:
    words = (*_DBOT, "--data-path", shards, "--lr", 0, "--epochs", 3, "--stage-epochs", 1, 2, "--out", tmp_path)
    run(mim, *words)
    students = [part(model_after(tmp_path, epoch), "encoder.")["blocks.0.attn.qkv.weight"] for epoch in (1, 2, 3)]
    assert not any(torch.equal(one, other) for one, other in zip(students, students[1:] + students[:1], strict=True))


@pytest.mark.parametrize("recipe", RECIPES)
def test_published_recipe_runs_with_its_rate(recipe: str, shards: Path, tmp_path: Path) -> None:
    printed = CliRunner().invoke(finetune, ["--config", recipe, "--print-config"])
    assert printed.exit_code == 0, printed.stderr
    values = json.loads(printed.stdout)
    processes, rate = _RATES[recipe]
    assert scale_rate(FinetuneSettings(**values), processes) == pytest.approx(rate)
    assert values["batch_size"] * values["grad_accum_steps"] * processes in (768, 1024)
    words = ("--config", recipe, "--data-path", shards, "--out", tmp_path, "--device", "cpu", "--smoke")
    run(finetune, *words)
    (path,) = tmp_path.glob("smoke/*/checkpoint_0001.pt")
    assert load_checkpoint(path)["updates"] == 2


def test_unknown_config_names_the_recipes() -> None:
    result = CliRunner().invoke(finetune, ["--config", "dbot_small"])
    assert result.exit_code == 2
    assert "dbot_base_finetune" in result.stderr
