"""How often an epoch shows an image, for every kind of data: by class, by place, repeated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pipeline import prepare, write

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from shardforge.errors import UsageError  # noqa: E402
from shardforge.loader.dataset import ShardDataset  # noqa: E402
from shardforge.train.data.augment import evaluation_transform  # noqa: E402
from shardforge.train.data.open import open_dataset, training_loader  # noqa: E402
from shardforge.train.distributed import Ranks  # noqa: E402
from shardforge.train.finetune import main as finetune  # noqa: E402
from shardforge.train.recipe.settings import FinetuneSettings  # noqa: E402

pytestmark = [pytest.mark.readers, pytest.mark.usefixtures("one_thread")]

_ALONE = Ranks(0, 1, torch.device("cpu"))


def make_folder(tree: Path, out: Path) -> Path:
    return Path(shutil.copytree(tree, out))


def make_list(tree: Path, out: Path) -> Path:
    lines = [f"{path} {path.parent.name}" for path in sorted(tree.rglob("*.*"))]
    out.with_suffix(".txt").write_text("\n".join(lines))
    return out.with_suffix(".txt")


def make_annotations(tree: Path, out: Path) -> Path:
    classes = sorted(path.name for path in tree.iterdir())
    entries = [
        {"img_path": str(path.relative_to(out.parent)), "gt_label": classes.index(path.parent.name)}
        for path in sorted(tree.rglob("*.*"))
    ]
    content = {"metainfo": {"classes": classes}, "data_list": entries}
    out.with_suffix(".json").write_text(json.dumps(content))
    return out.with_suffix(".json")


def make_shards(tree: Path, out: Path) -> Path:
    out.mkdir()
    write(prepare(out, f"photos=folder:{tree}", "--rule", "exact", "--val-split", 15), out / "shards")
    return out / "shards"


@pytest.fixture(params=[make_folder, make_list, make_annotations, make_shards])
def place(request: pytest.FixtureRequest, uneven: Path, tmp_path: Path) -> Path:
    """Return a place of data with classes of different size."""
    make: Callable[[Path, Path], Path] = request.param
    return make(uneven, tmp_path / "place")


@pytest.fixture
def uneven(image_tree: Path) -> Path:
    """Return folders of four, three and one image."""
    for name in ("fish/3.png", "mammals/1.jpg", "mammals/2.jpg", "mammals/3.png"):
        (image_tree / name).unlink()
    return image_tree


def settings(*places: Path, **values: Any) -> FinetuneSettings:
    return FinetuneSettings(network="none", data_path=tuple(map(str, places)), workers=0, **values)


def read_epoch(chosen: FinetuneSettings, epoch: int = 0, batch_size: int = 1) -> tuple[ShardDataset, np.ndarray]:
    """Return the data, and the number of each sample of an epoch."""
    dataset = open_dataset(chosen.data_path, evaluation_transform(8), splits=chosen.wds_training_split)
    chosen = FinetuneSettings(**{**chosen.__dict__, "batch_size": batch_size})
    loader = training_loader(dataset, chosen, _ALONE, members=("image", "sample"), samples=None)
    loader.set_epoch(epoch)
    return dataset, np.concatenate([samples.numpy() for _, samples in loader])


def test_classes_come_equally_often(place: Path) -> None:
    dataset, samples = read_epoch(settings(place, class_balanced=True))
    images = np.bincount(dataset.labels)
    shown = np.bincount(dataset.labels[samples])
    assert images.max() - images.min() >= 2
    assert shown.max() - shown.min() <= 1
    assert len(samples) == len(dataset)


def test_rare_classes_come_more_often(place: Path) -> None:
    dataset, samples = read_epoch(settings(place, oversample_thr=0.5))
    images = np.bincount(dataset.labels)
    expected = images * np.maximum(1, np.sqrt(0.5 / (images / images.sum())))
    assert np.abs(np.bincount(dataset.labels[samples]) - expected).max() <= 1
    assert len(samples) == round(expected.sum()) > len(dataset)


def test_epochs_repeat_images(place: Path) -> None:
    dataset, samples = read_epoch(settings(place, repeat=(3,)))
    assert np.bincount(samples).tolist() == [3] * len(dataset)
    whole, few = read_epoch(settings(place, place, repeat=(2, 1)))
    assert np.bincount(few).tolist() == [2] * len(dataset) + [1] * len(dataset)
    assert len(whole) == 2 * len(dataset)


def test_places_have_their_share_of_an_epoch(place: Path) -> None:
    chosen = settings(place, place, data_weights=(3, 1))
    dataset, _ = read_epoch(chosen)
    samples = np.concatenate([read_epoch(chosen, epoch)[1] for epoch in range(4)])
    half = dataset.sizes[0]
    counts = np.bincount(samples, minlength=2 * half)
    assert counts.sum() == 8 * half
    assert counts[:half].sum() == pytest.approx(6 * half, abs=4)
    assert counts[:half].max() - counts[:half].min() <= 1  # no image again before the place is through
    assert not np.array_equal(samples[samples < half][:half], samples[samples >= half][:half] - half)


def test_images_without_a_label_are_refused_where_classes_decide(uneven: Path, tmp_path: Path) -> None:
    unlabelled = tmp_path / "unlabelled.txt"
    unlabelled.write_text("\n".join(str(path) for path in sorted(uneven.rglob("*.jpg"))))
    with pytest.raises(UsageError, match=r"7 images have no label, so --class-balanced"):
        read_epoch(settings(unlabelled, class_balanced=True))


def test_training_takes_every_kind_of_data_and_resumes(place: Path, tmp_path: Path) -> None:
    network = ("--network", "vit_tiny_patch16_224", "--model-config", "embed_dim=32", "depth=1", "num_heads=2")
    words = (*network, "--size", 32, "--batch-size", 2, "--workers", 0, "--device", "cpu", "--lr", 0.001)
    words = (*words, "--data-path", place, "--val-path", place, "--oversample-thr", 0.5, "--repeat", 2)
    words = (*words, "--out", tmp_path / "out", "--save-steps", 1, "--aug-level", 0, "--wds-val-split", "training")
    result = CliRunner().invoke(finetune, [str(word) for word in (*words, "--epochs", 1)])
    assert result.exit_code == 0, result.stderr
    again = CliRunner().invoke(finetune, [str(word) for word in (*words, "--epochs", 2, "--resume")])
    assert again.exit_code == 0, again.stderr
    assert "1 epochs and 0 batches are done" in again.stderr
