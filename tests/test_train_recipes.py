"""Every recipe runs as it is written, but for the program's name, the paths, and what `--smoke` cuts down."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import copy_images, prepare, write

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from shardforge.train.checkpoint import load_checkpoint  # noqa: E402
from shardforge.train.finetune import main as finetune  # noqa: E402
from shardforge.train.mim import main as mim  # noqa: E402
from shardforge.train.weights import read_weights  # noqa: E402

pytestmark = pytest.mark.readers

RECIPES = (Path(__file__).parent / "data" / "recipes.txt").read_text().splitlines()

#: One recipe of each method, and fine-tuning of each kind: what runs on every change.
QUICK = (
    *("crossmae --encoder vit_reg4_b14", "convnext_v2_atto --encoder-model-config", "mae_hiera --encoder hiera_small"),
    *("mae_vit --encoder vit_reg4_b16", "mae_vit --encoder vit_sam_b16", "simmim --encoder swin_transformer_v2_s"),
    *(
        "regnet_y_8g --tag mim",
        "hiera_abswin_base --tag mim-intermediate --batch-size 80",
        "vit_reg4_b16 --tag mim --batch-size 64",
    ),
)


def words_of(recipe: str) -> tuple[str, list[str]]:
    """Return which program a recipe runs, and its options."""
    words = shlex.split(recipe.replace("~", "HOME"))
    program = "mim" if "birder.scripts.train_mim" in words else "finetune"
    start = next(i for i, word in enumerate(words) if word.startswith("--network"))
    return program, words[start:]


def name_of(recipe: str) -> str:
    program, words = words_of(recipe)
    at = {
        name: words[words.index(name) + 1]
        for name in ("--network", "--encoder", "--tag", "--resume-epoch")
        if name in words
    }
    return "-".join([program, *at.values()]) + f"-{RECIPES.index(recipe)}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return a folder that has, under the names of the recipes, folders of images and shards."""
    place = tmp_path_factory.mktemp("recipes")
    images = copy_images(photos, place / "images", 1)
    write(prepare(place, f"photos=folder:{images}"), place / "shards")
    for name in ("data/intermediate_packed", "data/ssl_packed", "mnt/ssl_bio_packed"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(place / "shards")
    for name in ("data/training", "data/validation", "data/raw_data", "data/detection_data/training", "HOME/Datasets"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(images, place / name)
    return place


def run(place: Path, program: str, words: list[str]) -> None:
    """Run a trainer with `--smoke` in `place`."""
    command = {"mim": mim, "finetune": finetune}[program]
    words = [word.replace("/mnt/data", "mnt") for word in words]
    before = Path.cwd()
    os.chdir(place)
    try:
        command.main([*words, "--smoke"], standalone_mode=False)
    finally:
        os.chdir(before)


def prepare_weights(place: Path, words: list[str]) -> None:
    """Train what a fine-tuning recipe starts from: one epoch from scratch, saved as the epoch that it names."""
    network, tag, epoch = (words[words.index(name) + 1] for name in ("--network", "--tag", "--resume-epoch"))
    folder = place / "models" / "smoke" / f"{network}_{tag}"
    shutil.rmtree(folder, ignore_errors=True)
    start = words.index("--resume-epoch")
    without = [word for word in words[:start] + words[start + 2 :] if word not in ("--load-states", "--load-scheduler")]
    run(place, "finetune", without)
    (folder / f"{network}_{tag}_1.safetensors").rename(folder / f"{network}_{tag}_{epoch}.safetensors")
    (folder / "checkpoint_0001.pt").rename(folder / f"checkpoint_{int(epoch):04d}.pt")
    assert read_weights(folder / f"{network}_{tag}_{epoch}.safetensors").about["task"] == "finetune"


def compile_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda compiled: compiled)


def check(recipe: str, place: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    program, words = words_of(recipe)
    network = words[words.index("--network") + 1]
    if program == "finetune":
        with monkeypatch.context() as patched:
            compile_nothing(patched)
            prepare_weights(place, words)
        start = place / "models" / "smoke" / f"{network}_{words[words.index('--tag') + 1]}"
        begun = next(start.glob(f"{network}_*.safetensors"))
    if not compiled:
        compile_nothing(monkeypatch)
    run(place, program, words)
    newest = max((place / "models" / "smoke").glob("*/checkpoint_*.pt"), key=lambda path: path.stat().st_mtime_ns)
    content = load_checkpoint(newest)
    assert content["updates"] >= 2
    assert all(bool(value.isfinite().all()) for value in content["model"].values() if value.is_floating_point())
    if program == "finetune":
        old = read_weights(begun).state
        now = content["model"]
        assert any(old[name].shape == now[name].shape and not torch.equal(old[name], now[name]) for name in old)


@pytest.mark.parametrize("recipe", [one for one in RECIPES if any(part in one for part in QUICK)], ids=name_of)
def test_a_recipe_of_each_kind_runs_as_written(recipe: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(recipe, place, monkeypatch, compiled=False)


def first_of_each_network() -> list[str]:
    """Return the first recipe of each `--network`, of whatever size, among those that ask for `--compile`."""
    compiled = [recipe for recipe in RECIPES if "--compile" in shlex.split(recipe)]
    of_any_size = re.compile(r"_(dec\w+|atto|tiny|base)$")
    return list({of_any_size.sub("", words_of(recipe)[1][1]): recipe for recipe in reversed(compiled)}.values())


@pytest.mark.compiled
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs a C++ compiler")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", first_of_each_network(), ids=name_of)
def test_a_recipe_of_each_network_compiles(recipe: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(recipe, place, monkeypatch, compiled=True)


@pytest.mark.parametrize("program", ["mim", "finetune"])
def test_a_recipe_of_each_trainer_runs_on_two_processes(
    program: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = next(one for one in RECIPES if words_of(one)[0] == program)
    words = words_of(recipe)[1]
    assert shlex.split(recipe)[:2] == ["torchrun", "--nproc_per_node=2"]
    if program == "finetune":
        compile_nothing(monkeypatch)
        prepare_weights(place, words)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*torchrun, "-m", f"shardforge.train.{program}", *words, "--smoke"],
        cwd=place,
        env=os.environ | {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"},  # compiling has tests of its own
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished: ") == 1, done.stderr


@pytest.mark.recipes
@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_every_recipe_runs_as_written(recipe: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(recipe, place, monkeypatch, compiled=False)


@pytest.mark.recipes
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_every_recipe_compiles(recipe: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(recipe, place, monkeypatch, compiled=True)


def test_there_are_43_recipes_and_44_options_in_them() -> None:
    assert len(RECIPES) == len(set(RECIPES)) == 43
    assert len({flag for recipe in RECIPES for flag in re.findall(r"--[a-z-]+", recipe)} - {"--nproc"}) == 44
