"""Whatever the trainers are given, what is wrong with it is one sentence; nothing is lost, and nothing is executed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pipeline import copy_images, prepare, write

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from safetensors.torch import save_file  # noqa: E402

from shardforge.train import loop  # noqa: E402
from shardforge.train.checkpoint import list_checkpoints  # noqa: E402
from shardforge.train.evaluate import main as evaluate  # noqa: E402
from shardforge.train.features import main as features  # noqa: E402
from shardforge.train.finetune import main as finetune  # noqa: E402
from shardforge.train.lock import lock_run  # noqa: E402
from shardforge.train.log import RunLog  # noqa: E402
from shardforge.train.mim import main as mim  # noqa: E402
from shardforge.train.step import Stepper  # noqa: E402
from shardforge.train.weights import read_weights  # noqa: E402

pytestmark = [pytest.mark.readers, pytest.mark.usefixtures("one_thread")]

_CPU = ("--workers", "0", "--device", "cpu")
_TINY = ("embed_dim=32", "depth=1", "num_heads=2")
_SHARED = ("--size", "32", "--opt", "adamw", "--lr", "1e-3", "--batch-size", "12", *_CPU)
_FINETUNE = ("--network", "vit_tiny_patch16_224", "--model-config", *_TINY, *_SHARED)
_MIM = ("--network", "mae_vit", "--encoder", "vit_tiny_patch16_224", "--encoder-model-config", *_TINY, *_SHARED)
_PROGRAM = (sys.executable, "-m", "shardforge.train.finetune")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return shards with 36 images to train on and 9 to validate on."""
    folder = tmp_path_factory.mktemp("mistakes")
    write(prepare(folder, f"photos=folder:{copy_images(photos, folder / 'images', 1)}"), folder / "shards")
    return folder / "shards"


@pytest.fixture(scope="module")
def weights(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return weights of a classifier."""
    out = tmp_path_factory.mktemp("weights")
    run(finetune, *_FINETUNE, "--data-path", shards, "--epochs", 1, "--out", out)
    return out / "vit_tiny_patch16_224" / "best.safetensors"


def run(command: Any, *words: object) -> str:
    result = CliRunner().invoke(command, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stderr


def fail(command: Any, *words: object, code: int = 2) -> str:
    """Run a program that must end with this status and one sentence; return the sentence."""
    result = CliRunner().invoke(command, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--batch-size", "9" * 30), "too large"),
        (("--epochs", "abc"), "'abc' is no whole number"),
        (("--epochs", "1.5"), "'1.5' is no whole number"),
        (("--lr", "nan"), "'nan' is no number"),
        (("--lr", "inf"), "too large"),
        (("--layer-decay", "2"), "give 1 or less"),
        (("--stage-epochs", "-5"), "give 0 or more"),
        (("--opt-betas", "2", "3"), "give numbers below 1"),
        (("--opt", "sgd", "--nesterov", "--momentum", "0"), "--momentum above 0"),
        (("--workers", "100000"), "give 1024 or less"),
        (("--tag", "../up"), "without /"),
        (("--init-from", ""), "names no file"),
        (("--out", ""), "names no folder"),
        (("--size", "8"), "give a larger --size"),
        (("--model-config", "num_classes=3"), "leave it out"),
        (("--model-config", "img_size=64"), "give --size"),
        (("--model-config", "depth=abc"), "cannot be built"),
        (("--network", "resnet18.nobody"), "Invalid pretrained tag"),
    ],
)
def test_values_that_cannot_be(words: tuple[str, ...], sentence: str, shards: Path, tmp_path: Path) -> None:
    assert sentence in fail(finetune, *_FINETUNE, "--data-path", shards, "--out", tmp_path, *words)


def test_size_that_a_network_cannot_take(shards: Path, tmp_path: Path) -> None:
    words = ("--network", "convnext_v2_atto", *_SHARED, "--size", "8", "--data-path", shards, "--out", tmp_path)
    assert "give another --size" in fail(finetune, *words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--mask-ratio", "nan"), "no number"),
        (("--model-config", "mask_ratio=0.5"), "give --mask-ratio"),
        (("--model-config", "depth=-1"), "check --model-config"),
        (("--model-config", "width=abc"), "check --model-config"),
    ],
)
def test_methods_that_cannot_be(words: tuple[str, ...], sentence: str, shards: Path, tmp_path: Path) -> None:
    assert sentence in fail(mim, *_MIM, "--data-path", shards, "--out", tmp_path, *words)


def test_missing_options_are_named() -> None:
    assert "'--network'" in fail(mim)
    assert "'--encoder'" in fail(mim, "--network", "mae_vit")
    assert "'--network'" in fail(finetune)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1, 2]", "holds no names with values"),
        ("null", "holds no names with values"),
        ("[" * 100_000, "not JSON"),
        ('{"config": "other.json"}', "config is no option"),
        ('{"epochs": [1, 2]}', "[1, 2] is no whole number"),
        ('{"epochs": true}', "True is no whole number"),
    ],
)
def test_config_files_that_cannot_be(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    assert sentence in fail(finetune, "--network", "vit_tiny_patch16_224", "--config", path)


def test_one_value_in_a_config_file_stands_for_a_list_of_one(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"data-path": "shards"}')
    result = CliRunner().invoke(finetune, ["--network", "x", "--config", str(path), "--print-config"])
    assert json.loads(result.stdout)["data_path"] == ["shards"]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_nothing_in_a_file_of_weights_is_executed(suffix: str, shards: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / f"evil{suffix}"
    path.write_bytes(pickle.dumps(Evil()))
    fail(finetune, *_FINETUNE, "--data-path", shards, "--out", tmp_path / "out", "--init-from", path)
    fail(evaluate, path, "--data-path", shards, *_CPU)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"hello world\n", b"", {"version": 1}, {"version": 1, "about": {}, "model": 3}])
def test_checkpoints_that_lack_something(content: Any, shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    assert "checkpoint" in fail(finetune, *_FINETUNE, "--data-path", shards, "--out", tmp_path, "--init-from", path)


@pytest.mark.parametrize(
    "lie",
    [
        {"model": "nosuch"},
        {"network": 5},
        {"arguments": {"pretrained": True}},
        {"arguments": {"checkpoint_path": "/etc/passwd"}},
        {"size": "big"},
        {"rgb_mode": "foo"},
        {"classes": 5},
    ],
)
def test_weights_that_lie_about_themselves(lie: dict[str, Any], weights: Path, shards: Path, tmp_path: Path) -> None:
    known = read_weights(weights)
    path = tmp_path / "lie.safetensors"
    save_file(known.state, path, {"shardforge": json.dumps({**known.about, **lie})})
    assert "says of itself" in fail(evaluate, path, "--data-path", shards, *_CPU)


def test_weights_that_are_no_numbers_make_no_features(weights: Path, shards: Path, tmp_path: Path) -> None:
    known = read_weights(weights)
    path = tmp_path / "nan.safetensors"
    save_file(
        {name: value * torch.nan for name, value in known.state.items()}, path, {"shardforge": json.dumps(known.about)}
    )
    words = (path, "--data-path", shards, "--wds-split", "training", "--out", tmp_path / "features", *_CPU)
    assert "are no numbers" in fail(features, *words, code=1)
    assert not (tmp_path / "features" / "features.json").exists()


def test_class_file_with_too_few_lines_is_named_by_evaluation(weights: Path, shards: Path, tmp_path: Path) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("one\n")
    assert "only 1 lines" in fail(evaluate, weights, "--data-path", shards, "--wds-class-file", names, *_CPU)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("{} 1000000000\n", "label 1,000,000,000"), ("{} a\n", "'a' more than once")],
)
def test_labels_that_are_none(line: str, sentence: str, image_tree: Path, tmp_path: Path) -> None:
    images, names = tmp_path / "images.txt", tmp_path / "classes.txt"
    images.write_text(line.format(next(image_tree.rglob("*.jpg"))))
    names.write_text("a\na\nb\n")
    given = ("--wds-class-file", names) if "more than once" in sentence else ()
    assert sentence in fail(finetune, *_FINETUNE, "--data-path", images, "--val-path", images, *given)


def test_pipe_that_bears_the_name_of_an_image_is_not_waited_for(image_tree: Path, tmp_path: Path) -> None:
    pipe = next(image_tree.iterdir()) / "pipe.jpg"
    os.mkfifo(pipe)
    assert str(pipe) in fail(mim, *_MIM, "--data-path", image_tree, "--epochs", 1, "--out", tmp_path / "out", code=1)


def test_weights_of_an_epoch_are_there_before_its_checkpoint(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a run that is killed between the two, and resumed, would never write them."""

    def die(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    words = (*_FINETUNE, "--data-path", shards, "--epochs", 1, "--out", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_weights", die)
        fail(finetune, *words, code=1)
    (folder,) = tmp_path.iterdir()
    assert not list_checkpoints(folder)
    run(finetune, *words, "--resume")
    assert sorted(path.name for path in folder.glob("*.safetensors")) == [
        "best.safetensors",
        "vit_tiny_patch16_224_1.safetensors",
    ]


def test_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    log = RunLog(tmp_path, writes=True)
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(Exception, match=r"log\.jsonl: no space left"):
        log.record("step", 1, {"loss": 1.0})
    log.close()


def test_output_below_a_file_is_refused(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = fail(finetune, *_FINETUNE, "--data-path", shards, "--epochs", 1, "--out", tmp_path / "file", code=1)
    assert "is a file" in line


def test_memory_that_ends_anywhere_is_a_sentence(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Stepper, "__init__", exhaust)
    assert "--batch-size" in fail(finetune, *_FINETUNE, "--data-path", shards, "--out", tmp_path, code=1)


def test_second_run_in_a_folder_is_refused_and_a_killed_one_leaves_nothing_behind(shards: Path, tmp_path: Path) -> None:
    words = [*_FINETUNE, "--data-path", str(shards), "--out", str(tmp_path), "--save-steps", "1", "--resume"]
    folder = tmp_path / "vit_tiny_patch16_224"
    with subprocess.Popen([*_PROGRAM, *words, "--epochs", "10000"], stderr=subprocess.DEVNULL) as first:
        try:
            while not list_checkpoints(folder):
                assert first.poll() is None
                time.sleep(0.05)
            assert f"process {first.pid}" in fail(finetune, *words, "--epochs", 10000)
        finally:
            first.kill()
    (folder / ".checkpoint_0009.pt.host.1.tmp").touch()
    epochs = list_checkpoints(folder)[-1].epoch + 1
    run(finetune, *words, "--epochs", epochs)
    assert not list(folder.glob(".*.tmp"))


def test_sigterm_is_a_sentence(shards: Path, tmp_path: Path) -> None:
    words = [*_FINETUNE, "--data-path", str(shards), "--out", str(tmp_path), "--epochs", "10000"]
    with subprocess.Popen([*_PROGRAM, *words], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while not running.stderr.readline().startswith("epoch"):
            assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        said = running.stderr.read()
    assert running.returncode == 130
    assert said.splitlines()[-1] == "Interrupted: what is saved is kept; go on with --resume."


def test_folder_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", missing)
    said: list[str] = []
    with lock_run(tmp_path / "run", said.append):
        pass
    assert said == [f"{tmp_path / 'run'}: has no locks (No locks available); see that no other run uses it"]


def test_batch_above_the_data_is_told(shards: Path, tmp_path: Path) -> None:
    said = run(mim, *_MIM, "--data-path", shards, "--out", tmp_path, "--batch-size", 64, "--epochs", 1)
    assert "a step of 64 images is more than the" in said
