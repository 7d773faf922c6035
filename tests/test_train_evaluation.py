"""What says how good a network is: scores, nearest neighbours, the linear probe; alike over any number of processes."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pipeline import copy_images, prepare, write

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchmetrics = pytest.importorskip("torchmetrics")

from torchmetrics.functional import classification as reference  # noqa: E402

from shardforge.loader.dataset import ShardDataset  # noqa: E402
from shardforge.train.checkpoint import load_checkpoint  # noqa: E402
from shardforge.train.data.augment import Colours, evaluation_transform  # noqa: E402
from shardforge.train.distributed import Ranks  # noqa: E402
from shardforge.train.encoders import create_encoder  # noqa: E402
from shardforge.train.encoders.features import average_patches  # noqa: E402
from shardforge.train.finetune import main as finetune  # noqa: E402
from shardforge.train.log import read_log  # noqa: E402
from shardforge.train.metrics import Classification  # noqa: E402
from shardforge.train.mim import main as mim  # noqa: E402
from shardforge.train.neighbours import find_nearest  # noqa: E402
from shardforge.train.probe import NormalisedHead, fold_norms, freeze_body, train_head  # noqa: E402
from shardforge.train.recipe.smoke import narrow_encoder, shrink_size  # noqa: E402
from shardforge.train.weights import read_weights  # noqa: E402

pytestmark = [pytest.mark.readers, pytest.mark.usefixtures("one_thread")]

_ALONE = Ranks(0, 1, torch.device("cpu"))
_SHARED = ("--size", "32", "--batch-size", "12", "--opt", "adamw", "--workers", "0", "--device", "cpu")
_TINY = ("embed_dim=32", "depth=2", "num_heads=2")
_FINETUNE = ("--network", "vit_tiny_patch16_224", "--model-config", *_TINY, *_SHARED)
_MIM = (
    *("--network", "mae_vit", "--encoder", "vit_tiny_patch16_224", "--model-config", "width=32", "depth=1"),
    *("--encoder-model-config", *_TINY, *_SHARED),
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return shards with 36 images to train on and 9 to validate on."""
    folder = tmp_path_factory.mktemp("evaluation")
    images = copy_images(photos, folder / "images", 1)
    write(prepare(folder, f"photos=folder:{images}"), folder / "shards")
    return folder / "shards"


def run(command: Any, *words: object) -> None:
    command.main([str(word) for word in words], standalone_mode=False)


def epochs_of(out: Path) -> list[dict[str, Any]]:
    (folder,) = out.iterdir()
    return [record for record in read_log(folder) if record["kind"] == "epoch"]


def test_scores_are_those_of_torchmetrics_without_padding() -> None:
    generator = torch.Generator().manual_seed(3)
    counts = Classification(9, torch.device("cpu"))
    logits = torch.randn(40, 9, generator=generator)
    labels = torch.randint(7, (40,), generator=generator)  # two classes have no images, but are answered
    valid = torch.rand(40, generator=generator) > 0.3
    valid[10:20] = False  # a batch of padding alone
    for rows in torch.arange(40).split(10):
        counts.add(logits[rows], labels[rows], valid[rows])
    scores, logits, labels = counts.results(_ALONE), logits[valid], labels[valid]
    there = torch.bincount(labels, minlength=9) > 0
    for name in ("precision", "recall", "f1_score"):
        expected = getattr(reference, f"multiclass_{name}")(logits, labels, 9, average=None)[there].mean()
        assert scores[name.removesuffix("_score")] == pytest.approx(float(expected))
    for k in (1, 5):
        expected = reference.multiclass_accuracy(logits, labels, 9, average="micro", top_k=k)
        assert scores[f"top{k}"] == pytest.approx(float(expected))
    assert scores["validation_loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)))
    table = torch.zeros(9, 9, dtype=torch.int64)
    for label, answer, images in counts.confusions(_ALONE):
        table[label, answer] = images
    assert torch.equal(table, reference.multiclass_confusion_matrix(logits, labels, 9))


def test_scores_take_no_table_of_classes() -> None:
    classes = 200_000  # whose table would take 320 GB
    counts = Classification(classes, torch.device("cpu"))
    logits = torch.zeros(2, classes)
    logits[0, 7] = logits[1, 9] = 1
    counts.add(logits, torch.tensor([7, 8]), torch.tensor([True, True]))
    assert counts.results(_ALONE)["top1"] == 0.5
    assert counts.confusions(_ALONE) == [(7, 7, 1), (8, 9, 1)]


def test_neighbours_found_in_blocks_are_those_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(5)
    features = torch.nn.functional.normalize(torch.randn(50, 8, generator=generator), dim=1)
    queries, labels = features[:4], torch.arange(50)
    expected = (queries @ features.T).topk(6)
    monkeypatch.setattr("shardforge.train.neighbours._BLOCK", 7)
    similar, found = find_nearest(queries, features, labels, 6)
    assert torch.equal(found, expected.indices)
    torch.testing.assert_close(similar, expected.values)
    few, _ = find_nearest(queries, features[:3], labels[:3], 6)
    assert few.isinf().sum(1).tolist() == [3] * 4


@pytest.mark.parametrize("words", [(mim, *_MIM), (finetune, *_FINETUNE)], ids=["mim", "finetune"])
def test_images_among_their_own_neighbours_are_always_right(
    words: tuple[Any, ...], shards: Path, tmp_path: Path
) -> None:
    command, *options = words
    data = ("--data-path", shards, "--wds-val-split", "training", "--knn-every", 2, "--knn-k", 1)
    run(command, *options, *data, "--epochs", 3, "--out", tmp_path)
    found = [record.get("knn_top1") for record in epochs_of(tmp_path)]
    assert found == [None, 1.0, None]


def test_neighbours_vote_as_in_dino(shards: Path, tmp_path: Path) -> None:
    run(mim, *_MIM, "--data-path", shards, "--epochs", 1, "--knn-every", 1, "--knn-k", 7, "--out", tmp_path)
    (found,) = epochs_of(tmp_path)
    weights = read_weights(next(tmp_path.glob("*/vit_tiny_patch16_224_mim_1.safetensors")))
    encoder = timm.create_model(weights.about["model"], **weights.about["arguments"]).eval()
    encoder.load_state_dict(weights.state)
    known, asked = (features_of(encoder, shards, split) for split in ("train", "validation"))
    right = {"knn_top1": 0, "knn_top5": 0}
    for query, label in zip(*asked, strict=True):
        nearest = sorted(zip((known[0] @ query).tolist(), known[1].tolist(), strict=True), reverse=True)[:7]
        votes: dict[int, float] = {}
        for similar, voter in nearest:
            votes[voter] = votes.get(voter, 0) + math.exp(similar / 0.07)
        best = sorted(votes, key=lambda voter: -votes[voter])
        right["knn_top1"] += int(label) == best[0]
        right["knn_top5"] += int(label) in best[:5]
    assert {name: found[name] for name in right} == pytest.approx({name: n / 9 for name, n in right.items()})


@torch.no_grad()
def features_of(encoder: Any, shards: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of length 1, means of the patches, and labels."""
    dataset = ShardDataset(shards, split=split, members=("image", "cls"), transform=evaluation_transform(32))
    images, labels = zip(*(dataset[i] for i in range(len(dataset))), strict=True)
    tokens = encoder.forward_features(Colours("birder")(torch.stack([torch.from_numpy(image) for image in images])))
    return torch.nn.functional.normalize(tokens[:, 1:].mean(1), dim=1), torch.tensor(labels)


@pytest.mark.parametrize(
    "name", ["vit_reg4_b16", "hiera_small", "swin_transformer_v2_s", "convnext_v2_atto", "vit_sam_b16"]
)
def test_every_kind_of_encoder_has_features(name: str) -> None:
    size = shrink_size(name, 224)
    encoder = create_encoder(name, size=size, settings=narrow_encoder(name)).eval()
    features = average_patches(encoder, torch.randn(2, 3, size, size))
    assert features.shape == (2, encoder.num_features)
    assert not torch.allclose(features[0], features[1])


def test_neighbours_need_labels(shards: Path, image_tree: Path, tmp_path: Path) -> None:
    unlabelled = tmp_path / "unlabelled.txt"
    unlabelled.write_text("\n".join(str(path) for path in image_tree.rglob("*.jpg")))
    words = (*_MIM, "--data-path", unlabelled, "--val-path", image_tree, "--knn-every", 1, "--out", tmp_path / "out")
    result = CliRunner().invoke(mim, [str(word) for word in words])
    assert result.exit_code == 2
    assert "9 of the 9 neighbours have no label; name labelled data with --knn-path" in result.stderr


def test_two_processes_with_a_compiled_model_end_as_one_without(shards: Path, tmp_path: Path) -> None:
    words = [*_FINETUNE, "--data-path", str(shards), "--lr", "1e-3", "--epochs", "1", "--aug-level", "0"]
    words += ["--knn-every", "1", "--knn-k", "3"]
    run(finetune, *words, "--batch-size", "8", "--out", tmp_path / "one")
    program = tmp_path / "compiled.py"
    program.write_text(  # the backend that compiles no C++, which takes a minute
        "import functools, torch\n"
        "torch.compile = functools.partial(torch.compile, backend='aot_eager')\n"
        "from shardforge.train.finetune import main\n"
        "main()\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(program)]
    result = subprocess.run(
        [*torchrun, *words, "--batch-size", "4", "--compile", "--out", str(tmp_path / "two")],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    (one,), (two,) = epochs_of(tmp_path / "one"), epochs_of(tmp_path / "two")
    for name in one.keys() - {"kind", "time"}:
        assert one[name] == pytest.approx(two[name], rel=1e-4), name
    assert one["validation_images"] == 9  # the second batch holds one, and the second process has padding alone
    folders = [tmp_path / name / "vit_tiny_patch16_224" for name in ("one", "two")]
    alone, together = (read_weights(folder / "best.safetensors").state for folder in folders)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5)
    assert (folders[0] / "confusion.csv").read_text() == (folders[1] / "confusion.csv").read_text()


def test_linear_probe_changes_nothing_but_the_head(shards: Path, tmp_path: Path) -> None:
    words = (*_FINETUNE, "--data-path", shards)
    run(finetune, *words, "--epochs", 1, "--out", tmp_path / "start")
    start = tmp_path / "start" / "vit_tiny_patch16_224" / "best.safetensors"
    probe = ("--freeze-body", "--probe-norm", "--init-from", start, "--lr", 0.1, "--epochs", 2)
    run(finetune, *words, *probe, "--out", tmp_path / "probe")
    probed = tmp_path / "probe" / "vit_tiny_patch16_224"
    before, after = read_weights(start).state, read_weights(probed / "vit_tiny_patch16_224_2.safetensors")
    assert {name for name in before if not torch.equal(before[name], after.state[name])} == {"head.weight", "head.bias"}
    timm.create_model(after.about["model"], **after.about["arguments"]).load_state_dict(after.state)
    saved = load_checkpoint(probed / "checkpoint_0002.pt")
    assert len(saved["optimiser"]["state"]) == 2
    assert torch.equal(read_weights(probed / "checkpoint_0002.pt").state["head.weight"], after.state["head.weight"])
    assert epochs_of(tmp_path / "probe")[1]["mean_loss"] < epochs_of(tmp_path / "probe")[0]["mean_loss"]


def test_head_of_a_probe_learns_alone_and_folds_into_a_plain_one() -> None:
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=32, depth=2, num_heads=2, num_classes=3,
        drop_rate=0.5, drop_path_rate=0.5, attn_drop_rate=0.5,
    )  # fmt: skip
    plain = dict(model.named_modules()).keys()
    freeze_body(model, normalise=True)
    images = torch.randn(8, 3, 32, 32)
    train_head(model.train())
    features = model.forward_head(model.forward_features(images), pre_logits=True)
    assert torch.equal(features, model.forward_head(model.forward_features(images), pre_logits=True))
    normalised = (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-6).sqrt()
    torch.testing.assert_close(model(images), model.head.probe(normalised), rtol=1e-4, atol=1e-5)
    model(images).sum().backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == {
        "head.probe.weight",
        "head.probe.bias",
    }
    scores = model.eval()(images)
    assert isinstance(model.head, NormalisedHead)
    folded = fold_norms(model.state_dict())
    model.head = torch.nn.Linear(32, 3)
    assert dict(model.named_modules()).keys() == plain
    model.load_state_dict(folded)
    torch.testing.assert_close(model(images), scores)
