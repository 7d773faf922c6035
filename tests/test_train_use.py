"""What was trained, put to use: by name, on any images, with figures, answers, features and search."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from pipeline import copy_images, prepare, write

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

import duckdb  # noqa: E402

from shardforge.errors import ImageError, UsageError  # noqa: E402
from shardforge.loader.transforms import Squash  # noqa: E402
from shardforge.train.data.files import FileDataset  # noqa: E402
from shardforge.train.encoders import export_encoder, resolve_encoder  # noqa: E402
from shardforge.train.evaluate import main as evaluate  # noqa: E402
from shardforge.train.features import main as features  # noqa: E402
from shardforge.train.finetune import main as finetune  # noqa: E402
from shardforge.train.log import read_log  # noqa: E402
from shardforge.train.retrieve import main as retrieve  # noqa: E402
from shardforge.train.use import get_model, inference_model, list_models, retrieval  # noqa: E402
from shardforge.train.use.feature_files import FeatureFolder, open_features  # noqa: E402
from shardforge.train.use.quality import Quality  # noqa: E402
from shardforge.train.use.search import search  # noqa: E402
from shardforge.train.use.views import Part  # noqa: E402
from shardforge.train.weights import write_weights  # noqa: E402

pytestmark = [pytest.mark.readers, pytest.mark.usefixtures("one_thread")]

_NETWORK = "vit_tiny_patch16_224"
_TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return a folder with `images`, `shards`, and in `models` a trained run and `encoder.safetensors`."""
    place = tmp_path_factory.mktemp("use")
    images = copy_images(photos, place / "images", 2)
    write(prepare(place, f"photos=folder:{images}"), place / "shards")
    words = [*("--network", _NETWORK, "--model-config"), *(f"{name}={value}" for name, value in _TINY.items())]
    words += ["--size", "32", "--batch-size", "16", "--opt", "adamw", "--lr", "1e-3", "--epochs", "1", "--workers", "0"]
    words += ["--aug-level", "0", "--data-path", place / "shards", "--out", place / "models"]
    run(finetune, *words)
    spec = resolve_encoder(_NETWORK, size=32, settings=_TINY)
    about = {"task": "mim", "network": _NETWORK, "model": spec.model, "arguments": spec.arguments, "size": 32}
    encoder = export_encoder(spec.create())
    write_weights(place / "models" / "encoder.safetensors", encoder, {**about, "rgb_mode": "none", "classes": None})
    return place


@pytest.fixture(scope="module")
def gallery(place: Path) -> FeatureFolder:
    """Return features of the training images."""
    words = ("--wds-info", place / "shards" / "_info.json", "--wds-split", "train", "--workers", 0)
    run(features, place / "models" / "encoder.safetensors", *words, "--out", place / "gallery")
    return open_features(place / "gallery")


def run(command: Any, *words: object) -> str:
    """Run a program; return what it prints on stdout."""
    result = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def torchrun(program: str, *words: object) -> None:
    """Run a program in two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command = [*launcher, f"shardforge.train.{program}", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert result.returncode == 0, result.stderr[-2000:]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of results."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    found = duckdb.sql(f"SELECT * FROM '{path}'")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def test_models_are_listed_by_wildcards(place: Path) -> None:
    assert list_models("hiera_abswin_*") == [f"hiera_abswin_{name}" for name in ("tiny", "small", "base", "base_plus")]
    assert list_models("vit_tiny_patch16_224", runs=place / "models") == [f"{place}/models/{_NETWORK}", _NETWORK]
    assert list_models("resnet101[cds]") == ["resnet101c", "resnet101d", "resnet101s"]


def test_run_folder_weights_and_checkpoint_give_one_model(place: Path) -> None:
    folder = place / "models" / _NETWORK
    images = torch.rand(2, 3, 32, 32)
    models = [get_model(path) for path in (folder, folder / "best.safetensors", folder / "checkpoint_0001.pt")]
    answers = [model(images) for model in models]
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert models[0].preprocessing.classes == tuple((place / "shards" / "classes.txt").read_text().splitlines())
    other = get_model(folder, num_classes=7, size=64)
    assert other(torch.rand(1, 3, 64, 64)).shape == (1, 7)
    assert other.preprocessing.classes is None
    assert torch.equal(other.blocks[1].mlp.fc1.weight, models[0].blocks[1].mlp.fc1.weight)


def test_network_takes_weights_of_other_origin(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    published = timm.create_model("resnet10t", num_classes=5)
    save_file(published.state_dict(), tmp_path / "foreign.safetensors")
    model = get_model("resnet10t", pretrained=tmp_path / "foreign.safetensors")
    assert torch.equal(model.fc.weight, published.fc.weight)
    assert model.preprocessing.rgb_mode == "imagenet"
    assert get_model("resnet10t", num_classes=0).num_classes == 0


def test_images_are_taken_in_any_form(place: Path) -> None:
    model = get_model(place / "models" / _NETWORK)
    path = sorted((place / "images" / "Anas").iterdir())[0]
    with Image.open(path) as image:
        forms = [str(path), path, path.read_bytes(), image.copy()]
    found = inference_model(model, forms, top_k=3)
    assert [one["image"] for one in found] == [str(path), str(path), "image 2", "image 3"]
    assert len({(one["label"], one["score"]) for one in found}) == 1
    assert found[0]["top"][0]["label"] == found[0]["label"]
    assert found[0]["class"] == model.preprocessing.classes[found[0]["label"]]
    assert len(inference_model(model, place / "images", batch_size=50)) == len(list((place / "images").rglob("*.jpg")))
    assert not model.training


def test_arrays_are_images(place: Path) -> None:
    model = get_model(place / "models" / _NETWORK)
    with Image.open(sorted((place / "images" / "Anas").iterdir())[0]) as image:
        picture, grey, clear = image.convert("RGB"), image.convert("L"), image.convert("RGBA")
    pixels = np.asarray(picture)
    floats = [(pixels / 255).astype(kind) for kind in (np.float16, np.float32, np.float64)]
    for array in (pixels, np.asfortranarray(pixels), np.asarray(clear), pixels[None], [pixels], *floats):
        assert inference_model(model, array)[0]["top"] == inference_model(model, picture)[0]["top"]
    for array in (np.asarray(grey), np.asarray(grey)[..., None], np.asarray(grey) / 255):
        assert inference_model(model, array)[0]["top"] == inference_model(model, grey)[0]["top"]
    several = inference_model(model, np.stack([pixels, 255 - pixels]))
    assert [one["image"] for one in several] == ["image 0", "image 1"]
    assert several[1]["score"] == inference_model(model, 255 - pixels)[0]["score"]
    assert len(inference_model(model, (form for form in (pixels, picture)))) == 2


PIXELS = np.zeros((4, 5, 3), np.uint8)
NO_IMAGES: list[tuple[Any, str]] = [
    (3, "images: expected a path, .* and not int"),
    (None, "images: expected a path, .* and not NoneType"),
    ({"a": PIXELS}, "images: expected a path, .* and not dict"),
    (PIXELS[0, 0], r"image 0: an array of the shape \[3\]; expected \[height, width\]"),
    (np.moveaxis(PIXELS, 2, 0), r"the shape \[3, 4, 5\]; .* the colours last"),
    (PIXELS[:0], r"the shape \[0, 5, 3\]"),
    (PIXELS[None, None], r"the shape \[1, 1, 4, 5, 3\]"),
    (PIXELS.astype(np.uint16), "an array of uint16; expected uint8, or floats from 0 to 1"),
    (PIXELS.astype(bool), "an array of bool; expected uint8"),
    (PIXELS.astype(object), "an array of object; expected uint8"),
    (PIXELS + 200.0, "floats from 200 to 200; expected 0 to 1"),
    (PIXELS - 1.0, "floats from -1 to -1; expected 0 to 1"),
    (PIXELS * np.nan, "floats from nan to nan; expected 0 to 1"),
    ([PIXELS, 3], "image 1: expected a path, .* and not int"),
    ([None], "image 0: expected a path, .* and not NoneType"),
    (torch.zeros(3, 4, 5), "image 0: expected a path, .* and not Tensor"),
    ([], "no images: name at least one"),
    (PIXELS[None][:0], "no images: name at least one"),
]


@pytest.mark.parametrize(("images", "message"), NO_IMAGES, ids=[message for _, message in NO_IMAGES])
def test_what_is_no_image_is_told_in_a_sentence(place: Path, images: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        inference_model(place / "models" / _NETWORK, images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "int is no model; expected a run's folder"),
        ({"model": None, "images": PIXELS}, "NoneType is no model"),
        ({"images": PIXELS, "top_k": 0}, "top_k: expected a whole number from 1, and not 0"),
        ({"images": PIXELS, "top_k": 1.5}, "top_k: expected a whole number from 1, and not 1.5"),
        ({"images": PIXELS, "batch_size": -1}, "batch_size: expected a whole number from 1, and not -1"),
        ({"images": PIXELS, "batch_size": None}, "batch_size: expected a whole number from 1, and not None"),
    ],
)
def test_other_arguments_of_wrong_kinds(place: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        inference_model(**{"model": place / "models" / _NETWORK, **arguments})


def test_a_picture_that_pillow_reads_late_is_named(place: Path, tmp_path: Path) -> None:
    path = sorted((place / "images" / "Anas").iterdir())[0]
    (tmp_path / "cut.jpg").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Image.open(tmp_path / "cut.jpg") as cut, pytest.raises(ImageError, match="image 0: cannot be read"):
        inference_model(place / "models" / _NETWORK, cut)
    with pytest.raises(ImageError, match="image 0: cannot be read"):
        inference_model(place / "models" / _NETWORK, Image.new("RGB", (0, 0)))


def test_evaluation_repeats_the_figures_of_training(place: Path, tmp_path: Path) -> None:
    words = ("--data-path", place / "shards", "--workers", 0, "--batch-size", 5)
    files = ("--out", tmp_path / "answers.parquet", "--report", tmp_path)
    printed = run(evaluate, place / "models" / _NETWORK, *words, *files)
    figures = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    (trained,) = [one for one in read_log(place / "models" / _NETWORK) if one["kind"] == "epoch"]
    assert {name: trained[name] for name in figures} == pytest.approx(figures, rel=1e-5)
    assert f"{figures['top1']:.6g}" in printed
    answers = rows_of(tmp_path / "answers.parquet")
    right = [row["label"] == row["answer"] for row in answers]
    assert sum(right) / len(right) == pytest.approx(figures["top1"])
    with open(tmp_path / "classes.csv") as file:
        table = list(csv.DictReader(file))
    assert sum(int(row["images"]) for row in table) == len(answers) == sum(int(row["answers"]) for row in table)
    assert sum(int(row["right"]) for row in table) == sum(right)


def test_answers_are_those_of_inference(place: Path, tmp_path: Path) -> None:
    folder, weights = place / "images" / "Ara", place / "models" / _NETWORK
    run(evaluate, weights, "--data-path", folder, "--workers", 0, "--out", tmp_path / "answers.jsonl")
    answers = rows_of(tmp_path / "answers.jsonl")
    assert {row["label"] for row in answers} == {None}  # images that lie in no folder of a class
    for row, expected in zip(answers, inference_model(weights, folder), strict=True):
        assert (row["key"], row["answer_class"]) == (expected["image"], expected["class"])
        assert row["score"] == pytest.approx(expected["score"], rel=1e-5)


def test_labels_are_numbered_by_the_names_of_the_weights(place: Path, tmp_path: Path) -> None:
    """Shards that have some of the classes only, so that their labels are other numbers."""
    few = tmp_path / "images"
    for name in ("Ara", "Bos"):
        (few / name).parent.mkdir(exist_ok=True)
        (few / name).symlink_to(place / "images" / name)
    write(prepare(tmp_path, f"few=folder:{few}", "--rule", "exact", "--val-split", 50), tmp_path / "shards")
    classes = (place / "shards" / "classes.txt").read_text().splitlines()
    found = set()
    for split in ("training", "validation"):
        words = ("--data-path", tmp_path / "shards", "--wds-split", split, "--workers", 0)
        run(evaluate, place / "models" / _NETWORK, *words, "--out", tmp_path / "answers.jsonl")
        found |= {(row["label"], row["class"]) for row in rows_of(tmp_path / "answers.jsonl")}
    assert found == {(classes.index(name), name) for name in ("Ara", "Bos")}


def test_views_are_parts_of_the_image_and_their_probabilities_averaged(place: Path, tmp_path: Path) -> None:
    corner = Part(Squash(32, 32), 0.75, 1, 0)
    boxes, flips = corner.plan(np.array([100]), np.array([40]), np.zeros(1, np.uint64))
    assert boxes.tolist() == [[25, 0, 100, 30]]
    assert not flips.any()
    weights, folder = place / "models" / _NETWORK, place / "images" / "Ara"
    words = (weights, "--data-path", folder, "--workers", 0, "--out", tmp_path / "answers.jsonl")
    run(evaluate, *words, "--tta", "flip", "scales")
    model = get_model(weights)
    views = [Squash(32, 32), *(Part(Squash(32, 32), share, 0.5, 0.5) for share in (0.875, 0.75))]
    scores = []
    for view in views:
        pixels = torch.from_numpy(np.stack([FileDataset([str(folder)], transform=view)[i]["jpg"] for i in range(2)]))
        images = model.preprocessing.colours()(pixels)
        scores += [model(images).softmax(1), model(images.flip(3)).softmax(1)]
    expected = torch.stack(scores).mean(0).max(1)
    answers = rows_of(tmp_path / "answers.jsonl")
    assert [row["answer"] for row in answers] == expected.indices.tolist()
    assert [row["score"] for row in answers] == pytest.approx(expected.values.tolist(), rel=1e-5)


def test_two_processes_do_what_one_does_even_where_one_has_no_image(place: Path, tmp_path: Path) -> None:
    images = tmp_path / "images" / "Ara"
    images.mkdir(parents=True)
    (images / "0.jpg").write_bytes(next((place / "images" / "Ara").iterdir()).read_bytes())
    words = (place / "models" / _NETWORK, "--data-path", images.parent, "--workers", 0)
    run(evaluate, *words, "--out", tmp_path / "one.jsonl", "--report", tmp_path / "one")
    torchrun("evaluate", *words, "--out", tmp_path / "two.jsonl", "--report", tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text())["metrics"] for name in ("one", "two"))
    assert one["validation_images"] == 1
    assert two == pytest.approx(one, rel=1e-6)
    ((answer,), (other,)) = rows_of(tmp_path / "one.jsonl"), rows_of(tmp_path / "two.jsonl")
    assert other.pop("score") == pytest.approx(answer.pop("score"), rel=1e-6)
    assert answer == other


def test_features_of_two_processes_are_those_of_one(place: Path, gallery: FeatureFolder, tmp_path: Path) -> None:
    words = ("--wds-info", place / "shards" / "_info.json", "--wds-split", "train", "--workers", 0, "--format", "npy")
    weights = place / "models" / "encoder.safetensors"
    torchrun("features", weights, *words, "--batch-size", 7, "--dtype", "float16", "--out", tmp_path / "two")
    two = open_features(tmp_path / "two")
    assert np.load(tmp_path / "two" / "part-00001.npy").dtype == np.float16
    order = np.argsort(two.rows["sample"].to_numpy())
    assert two.rows["key"].take(order).to_pylist() == gallery.rows["key"].to_pylist()
    assert two.labels[order].tolist() == gallery.labels.tolist()
    vectors = [np.concatenate(list(folder.blocks(9))) for folder in (two, gallery)]
    np.testing.assert_allclose(vectors[0][order], vectors[1], atol=2e-3)


def test_pooling_chooses_what_becomes_the_vector(place: Path, tmp_path: Path) -> None:
    weights, folder = place / "models" / "encoder.safetensors", place / "images" / "Ara"
    for pooling in ("cls", "avg"):
        run(features, weights, "--data-path", folder, "--workers", 0, "--pooling", pooling, "--out", tmp_path / pooling)
    model = get_model(weights)
    pixels = [FileDataset([str(folder)], transform=Squash(32, 32))[i]["jpg"] for i in range(2)]
    with torch.no_grad():
        tokens = model.forward_features(model.preprocessing.colours()(torch.from_numpy(np.stack(pixels)))).numpy()
    expected = {"cls": tokens[:, 0], "avg": tokens[:, 1:].mean(1)}
    for pooling, vectors in expected.items():
        (found,) = open_features(tmp_path / pooling).blocks(100)
        np.testing.assert_allclose(found, vectors, atol=1e-5)


def test_search_is_exact_and_no_image_finds_itself() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(101, 8)).astype(np.float32)
    normal = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = normal @ normal.T
    np.fill_diagonal(similar, -np.inf)
    expected = np.argsort(-similar, axis=1)[:, :5]
    blocks = (vectors[first : first + 17] for first in range(0, 101, 17))
    found = search(torch.from_numpy(vectors), blocks, 5, torch.arange(101))
    assert found.rows.tolist() == expected.tolist()
    np.testing.assert_allclose(found.scores, np.take_along_axis(similar, expected, 1), atol=1e-6)
    few = search(torch.from_numpy(vectors[:2]), [vectors[:3]], 5, torch.tensor([0, -1]))
    assert (few.rows >= 0).sum(1).tolist() == [2, 3]


def test_quality_of_a_search_is_as_defined() -> None:
    quality = Quality(5)
    labels, relevant = torch.tensor([1, 1, 2, -1]), torch.tensor([2, 9, 0, 0])
    found = torch.tensor([[0, 1, 0, 1, 0], [1, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    quality.add(labels, found, relevant)
    precision = ((1 / 2 + 2 / 4) / 2 + (1 + 1 + 1 + 4 / 5) / 5) / 2
    expected = {"queries": 2, "mAP@5": precision, "recall@1": 0.5, "recall@5": 1.0}
    assert quality.results() == pytest.approx(expected)


def test_retrieval_finds_by_features_and_by_images(
    place: Path, gallery: FeatureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "QUERY_BLOCK", 13)
    monkeypatch.setattr(retrieval, "GALLERY_BLOCK", 11)
    pictures = ("--show", tmp_path / "sheet.png", "--show-queries", 2)
    printed = run(retrieve, gallery.path, "--top-k", 3, "--out", tmp_path / "hits.parquet", *pictures)
    hits = rows_of(tmp_path / "hits.parquet")
    assert all(hit["query"] != hit["key"] for hit in hits)
    assert len(hits) == 3 * len(gallery.rows)
    share = np.mean([hit["query_class"] == hit["class"] for hit in hits if hit["rank"] == 1])
    paired = np.bincount(gallery.labels)[gallery.labels] > 1  # others have nothing to find
    assert f"recall@1   {share / paired.mean():.6g}" in printed
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 4 * 144
    image = next((place / "images" / "Ara").iterdir())
    lines = [line.split("\t") for line in run(retrieve, gallery.path, "--query", image, "--top-k", 2).splitlines()]
    assert [(line[0], line[1]) for line in lines] == [(str(image), "1"), (str(image), "2")]
    assert float(lines[0][2]) >= float(lines[1][2])


@pytest.mark.parametrize(
    ("command", "words", "sentence"),
    [
        (evaluate, ("FOREIGN", "--data-path", "IMAGES"), "not weights that this program reads"),
        (evaluate, ("UNTOLD", "--data-path", "IMAGES"), "does not tell which network it is of"),
        (evaluate, ("ENCODER", "--data-path", "IMAGES"), "has no classifier"),
        (evaluate, ("vit_tinny_patch16_224", "--data-path", "IMAGES"), "Did you mean vit_tiny_patch16_224"),
        (evaluate, ("models/none", "--data-path", "IMAGES"), "there are no weights"),
        (evaluate, ("RUN",), "name the images"),
        (evaluate, ("RUN", "--data-path", "EMPTY"), "holds no image"),
        (evaluate, ("RUN", "--data-path", "OTHERS"), "not among the"),
        (evaluate, ("RUN", "--data-path", "BROKEN"), "bad.jpg"),
        (evaluate, ("RUN", "--data-path", "IMAGES", "--out", "answers.txt"), ".parquet or .jsonl"),
        (evaluate, ("RUN", "--data-path", "IMAGES", "--network", "resnet18"), "it holds weights of"),
        (features, ("RUN", "--data-path", "IMAGES", "--out", "GALLERY"), "holds features already"),
        (
            features,
            ("resnet18", "--network", "resnet18", "--data-path", "IMAGES", "--out", "x"),
            "resnet18: there is no such file",
        ),
        (retrieve, ("EMPTY",), "no finished features"),
        (retrieve, ("GALLERY", "--query", "nothing.jpg"), "there is no such image"),
        (retrieve, ("GALLERY", "--query", "BROKEN"), "bad.jpg"),
        (retrieve, ("GALLERY", "--query", "IMAGES", "--weights", "RUN"), "not the weights that made"),
    ],
)
def test_mistakes_are_one_sentence(
    command: Any, words: tuple[str, ...], sentence: str, place: Path, gallery: FeatureFolder, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for path, content in (
        ("broken/Ara/bad.jpg", b"\xff\xd8\xff"),
        ("others/Unicorn/0.jpg", b""),
        ("foreign.pth", b"1"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    write_weights(tmp_path / "untold.safetensors", {"weight": torch.zeros(1)}, {})
    names = {"IMAGES": place / "images", "RUN": place / "models" / _NETWORK, "GALLERY": gallery.path}
    names |= {name.upper(): tmp_path / name for name in ("empty", "broken", "others")}
    names |= {"FOREIGN": tmp_path / "foreign.pth", "UNTOLD": tmp_path / "untold.safetensors"}
    names |= {"ENCODER": place / "models" / "encoder.safetensors"}
    result = CliRunner().invoke(command, [str(names.get(word, word)) for word in words])
    assert result.exit_code in (1, 2), result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert sentence in line


def test_images_that_cannot_be_read_are_named_or_counted(place: Path, tmp_path: Path) -> None:
    weights = place / "models" / _NETWORK
    with pytest.raises(ImageError, match="image 1: "):
        inference_model(weights, [Image.new("RGB", (9, 9)), b"no image"])
    with pytest.raises(UsageError, match="no images"):
        inference_model(weights, [])
    folder = tmp_path / "Ara"
    folder.mkdir()
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "good.jpg").write_bytes(next((place / "images" / "Ara").iterdir()).read_bytes())
    words = (weights, "--data-path", tmp_path, "--workers", 0, "--skip-bad", "--report", tmp_path / "report")
    result = CliRunner().invoke(evaluate, [str(word) for word in words])
    assert "1 images could not be read" in result.stderr
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["metrics"]["validation_images"] == 1
