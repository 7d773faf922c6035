"""The loader on real shards: samples as other readers see them, batches, workers, epochs and resuming."""

from __future__ import annotations

import io
import json
import pickle
import random
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pipeline import copy_images, manifest, prepare, run, write

from shardforge.errors import ImageError, UsageError
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.loader import ShardLoader
from shardforge.loader.pixels import Normalise
from shardforge.loader.transforms import BatchTransform, CenterCrop, RandomResizedCrop, Squash

SIDE = 32


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return a dataset of 90 images of 64 px in a dozen shards."""
    folder = tmp_path_factory.mktemp("loader")
    images = copy_images(photos, folder / "images", 2)
    write(prepare(folder, f"photos=folder:{images}"), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def cropped(out: Path) -> ShardDataset:
    return ShardDataset(out, split="train", transform=RandomResizedCrop(SIDE))


def read_tars(out: Path, split: str) -> dict[str, dict[str, bytes]]:
    """Return the samples of a split by the standard library's reader: {key: {extension: bytes}}, in order."""
    samples: dict[str, dict[str, bytes]] = {}
    for name in manifest(out)["splits"][split]["filenames"]:
        with tarfile.open(out / name) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                samples.setdefault(key, {})[extension] = file.read()
    return samples


def random_pixels(image: Image.Image) -> np.ndarray:
    """Stand for a transform in Python that draws from three generators."""
    import torch

    noise = random.random() + np.random.random() + float(torch.rand(()))
    return np.asarray(image.resize((8, 8)), np.float32) + np.float32(noise)


def batches(loader: ShardLoader) -> list[tuple[Any, ...]]:
    """Return an epoch's batches as arrays of their own."""
    return [tuple(np.asarray(value).copy() for value in batch) for batch in loader]


def same(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    return len(one) == len(other) and all(all(map(np.array_equal, *pair)) for pair in zip(one, other, strict=True))


def test_samples_are_those_in_the_tars(out: Path) -> None:
    expected = read_tars(out, "train")
    dataset = ShardDataset(out, split="train")
    raw = ShardDataset(out, split="train", decode=False)
    assert list(dataset.keys) == list(expected)
    assert len(dataset) == len(expected)
    for number, (key, members) in enumerate(expected.items()):
        sample = dataset[number]
        assert raw[number] == {"__key__": key, **members}
        assert sample["__key__"] == key
        assert sample["cls"] == dataset.labels[number] == int(members["cls"])
        assert sample["json"] == json.loads(members["json"])
        with Image.open(io.BytesIO(members["jpg"])) as image:
            difference = np.abs(np.asarray(sample["jpg"], int) - np.asarray(image, int))
        assert difference.max() <= 4  # libjpeg-turbo's own two ways to upsample colours


def test_indices_slices_and_keys(out: Path) -> None:
    dataset = ShardDataset(out, split="train", members=("__key__", "cls"))
    keys = dataset.keys
    assert dataset[-1] == dataset[len(dataset) - 1] == (keys[-1], dataset.labels[-1])
    assert [key for key, _ in dataset[2:20:3]] == list(keys[2:20:3])
    assert dataset[5:][1:3][0] == dataset[6]
    assert dataset.find(keys[7]) == 7
    assert keys[3] in keys
    assert "nothing" not in keys
    assert dataset.classes is not None
    assert len(dataset.classes) == dataset.labels.max() + 1
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    with pytest.raises(UsageError, match=r"member 'png': no sample has it; choose of jpg, cls, json, image, __key__"):
        ShardDataset(out, split="train", members=("png",))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, ("raise SystemExit('unpickled')",)

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for extension in ("pyd", "pickle", "pth", "npy"):
            info = tarfile.TarInfo(f"a.{extension}")
            data = pickle.dumps(Trap())
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    sample = ShardDataset(tmp_path / "a.tar")[0]
    assert all(sample[extension] == pickle.dumps(Trap()) for extension in ("pyd", "pickle", "pth", "npy"))


def test_text_and_members_that_only_some_samples_have(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in {"a.sci.txt": b"Ara macao", "b.sci.txt": b"\xff", "b.json": b"[1]"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    dataset = ShardDataset(tmp_path / "a.tar")
    assert dataset[0] == {"__key__": "a", "sci.txt": "Ara macao"}
    with pytest.raises(ImageError, match=r"a\.tar: sample b, sci\.txt at byte 1,536: .*cannot be decoded"):
        dataset[1]
    with pytest.raises(ImageError, match=r"sample a, json at byte 0: there is no such member"):
        ShardDataset(tmp_path / "a.tar", members=("json",))[0]


def test_images_with_an_orientation_come_upright(tmp_path: Path, photos: Path) -> None:
    with Image.open(photos / "Ara_macao_1.webp") as photo:
        image = photo.convert("RGB").resize((60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, exif=exif)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(file.getvalue())
        tar.addfile(info, io.BytesIO(file.getvalue()))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)), int)
    assert ShardDataset(tmp_path / "a.tar")[0]["jpg"].size == (40, 60)
    pixels = ShardDataset(tmp_path / "a.tar", transform=Squash(40, 60))[0]["jpg"]
    assert np.abs(pixels.transpose(1, 2, 0) - upright).max() <= 6


TRANSFORMS = [RandomResizedCrop(224), RandomResizedCrop(96, scale=(0.9, 1.0), ratio=(0.5, 0.6)), CenterCrop(64)]


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 2**64 - 1), st.sampled_from(TRANSFORMS))
def test_boxes_lie_inside_the_image(width: int, height: int, draw: int, transform: BatchTransform) -> None:
    draws = np.array([draw], np.uint64)
    (left, top, right, bottom), flip = (
        part[0] for part in transform.plan(np.array([width]), np.array([height]), draws)
    )
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert not flip or isinstance(transform, RandomResizedCrop)


def test_random_boxes_have_the_shares_and_shapes_asked_for() -> None:
    draws = np.arange(20_000, dtype=np.uint64)
    sizes = np.full(20_000, 1000)
    boxes, flips = RandomResizedCrop(224).plan(sizes, sizes, draws)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share = width * height / 1e6
    assert share.min() == pytest.approx(0.08, abs=0.002)
    assert (width / height).min() == pytest.approx(3 / 4, abs=0.01)
    assert (width / height).max() == pytest.approx(4 / 3, abs=0.01)
    assert np.median(width / height) == pytest.approx(1, abs=0.02)
    assert flips.mean() == pytest.approx(0.5, abs=0.02)
    # Torchvision's own crop has a mean share of 0.5 where large boxes that do not fit are drawn again.
    assert share.mean() == pytest.approx(0.5, abs=0.03)


#: Boxes and mirrored images of five draws and sizes, written down once: others would be another epoch of every run.
BOXES: dict[BatchTransform, tuple[list[list[float]], list[bool]]] = {
    RandomResizedCrop(224): (
        [[185, 5, 565, 443], [0, 71, 93, 163], [1, 1, 5, 5], [0, 199, 1, 200], [145, 122, 291, 245]],
        [True, False, True, True, True],
    ),
    RandomResizedCrop(64, scale=(0.2, 0.6), ratio=(0.5, 1.5), flip=0.2): (
        [[252, 6, 537, 437], [3, 55, 79, 195], [1, 1, 4, 5], [0, 199, 1, 201], [116, 95, 332, 274]],
        [False] * 5,
    ),
    CenterCrop(224): (
        [
            [110, 30, 530, 450],
            [6.25, 106.25, 93.75, 193.75],
            [1.3125, 0.3125, 5.6875, 4.6875],
            [0.0625, 199.5625, 0.9375, 200.4375],
            [85.9375, 23.4375, 414.0625, 351.5625],
        ],
        [False] * 5,
    ),
    CenterCrop(10, share=1.0): (
        [[80, 0, 560, 480], [0, 100, 100, 200], [1, 0, 6, 5], [0, 199.5, 1, 200.5], [62.5, 0, 437.5, 375]],
        [False] * 5,
    ),
    Squash(20, 30): (
        [[0, 0, 640, 480], [0, 0, 100, 300], [0, 0, 7, 5], [0, 0, 1, 400], [0, 0, 500, 375]],
        [False] * 5,
    ),
}


@pytest.mark.parametrize("transform", BOXES, ids=str)
def test_boxes_stay_as_they_are(transform: BatchTransform) -> None:
    widths, heights = np.array([[640, 480], [100, 300], [7, 5], [1, 400], [500, 375]]).T
    draws = np.arange(5, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(17)
    boxes, flips = transform.plan(widths, heights, draws)
    assert (boxes.tolist(), flips.tolist()) == BOXES[transform]


@pytest.mark.parametrize(
    ("ratio", "size", "box"),
    [
        ((3.0, 4.0), (1, 400), (0, 199, 1, 200)),
        ((0.25, 0.3), (400, 1), (199, 0, 200, 1)),
        ((3.0, 4.0), (90, 4000), (0, 1985, 90, 2015)),  # 30 high, the nearest shape
        ((0.25, 0.5), (4000, 90), (1977, 0, 2022, 90)),
    ],
)
def test_an_image_that_no_box_fits_into_gives_its_centre(
    ratio: tuple[float, float], size: tuple[int, int], box: tuple[float, ...]
) -> None:
    plan = RandomResizedCrop(8, scale=(1, 1), ratio=ratio).plan(*np.array([size]).T, np.array([1], np.uint64))
    assert plan.boxes.tolist() == [list(box)]


@pytest.mark.parametrize(
    ("transform", "options"),
    [
        (RandomResizedCrop, {"side": 0}),
        (RandomResizedCrop, {"side": 8, "scale": (0, 1)}),
        (RandomResizedCrop, {"side": 8, "scale": (0.6, 0.5)}),
        (RandomResizedCrop, {"side": 8, "ratio": (0, 1)}),
        (RandomResizedCrop, {"side": 8, "ratio": (2, 1)}),
        (CenterCrop, {"side": 0}),
        (CenterCrop, {"side": 8, "share": 0}),
        (CenterCrop, {"side": 8, "share": 1.01}),
        (Squash, {"width": 0, "height": 8}),
        (Squash, {"width": 8, "height": 0}),
    ],
)
def test_transforms_that_cannot_be_are_refused(transform: type[BatchTransform], options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"{transform.__name__}\(.*must be"):
        transform(**options)
    least: dict[str, Any] = {"width": 1, "height": 1} if transform is Squash else {"side": 1}
    assert transform(**least).size == (1, 1)


def test_batched_crops_are_those_of_pillow(out: Path, cropped: ShardDataset) -> None:
    loader = ShardLoader(cropped, global_batch_size=16, members=("image", "sample"), num_workers=0)
    tars = list(read_tars(out, "train").values())
    images, samples = next(iter(loader))
    batch = loader.schedule.batch(0, 0)
    sizes = np.full(len(samples), 64)
    boxes, flips = RandomResizedCrop(SIDE).plan(sizes, sizes, batch.draws)
    assert flips.any()
    for pixels, sample, box, flip in zip(images.numpy(), samples.tolist(), boxes.tolist(), flips.tolist(), strict=True):
        image = Image.open(io.BytesIO(tars[sample]["jpg"])).resize((SIDE, SIDE), Image.Resampling.BILINEAR, tuple(box))
        expected = np.asarray(ImageOps.mirror(image) if flip else image, int)
        assert np.abs(pixels.transpose(1, 2, 0) - expected).max() <= 6


def test_normalised_batches_are_floats(out: Path) -> None:
    means, deviations = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    dataset = ShardDataset(out, split="validation", transform=CenterCrop(SIDE))
    options: dict[str, Any] = {"global_batch_size": 4, "shuffle": False, "num_workers": 0, "members": ("image",)}
    plain = np.concatenate([images for (images,) in batches(ShardLoader(dataset, **options))])
    floats = ShardLoader(dataset, **options, normalise=Normalise(means, deviations))
    expected = (plain.transpose(0, 2, 3, 1) / 255 - means) / deviations
    found = np.concatenate([images for (images,) in batches(floats)]).transpose(0, 2, 3, 1)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5


def test_every_number_and_kind_of_workers_makes_the_same_batches(cropped: ShardDataset) -> None:
    members = ("image", "cls", "__key__", "json", "valid", "sample")
    options: dict[str, Any] = {"global_batch_size": 10, "members": members, "seed": 3}
    expected = batches(ShardLoader(cropped, num_workers=0, **options))
    assert sorted(np.concatenate([batch[5] for batch in expected])[: len(cropped)]) == list(range(len(cropped)))
    for workers, number in (("threads", 1), ("threads", 3), ("processes", 2)):
        loader = ShardLoader(cropped, num_workers=number, workers=workers, **options)  # type: ignore[arg-type]
        assert same(batches(loader), expected)
        loader.close()


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_random_transforms_in_python_draw_the_same_everywhere(out: Path, start_method: str) -> None:
    dataset = ShardDataset(out, split="train", transform=random_pixels)
    options: dict[str, Any] = {"global_batch_size": 16, "members": ("image", "sample")}
    torch = pytest.importorskip("torch")
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    expected = batches(ShardLoader(dataset, num_workers=0, **options))
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert after == before  # the generators of this process are left alone
    loader = ShardLoader(dataset, num_workers=2, start_method=start_method, **options)
    assert same(batches(loader), expected)
    assert not same(batches(loader), expected)  # the next epoch
    loader.close()
    with pytest.raises(UsageError, match="threads, which share the random numbers"):
        ShardLoader(dataset, num_workers=2, workers="threads", **options)


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_batches_stay_what_they_are_while_someone_has_them(cropped: ShardDataset, workers: Any) -> None:
    loader = ShardLoader(cropped, global_batch_size=8, workers=workers, num_workers=1, members=("image",))
    kept = [images[3:5, 1] for (images,) in loader]  # views keep their batch
    loader.set_epoch(0)
    expected = [images[3:5, 1] for (images,) in batches(loader)]
    assert all(map(np.array_equal, kept, expected))
    loader.close()


def test_epochs_follow_each_other_and_can_be_set(cropped: ShardDataset) -> None:
    def order(loader: ShardLoader) -> list[int]:
        return [number for (samples,) in loader for number in samples.tolist()]

    loader = ShardLoader(cropped, global_batch_size=8, members=("sample",), num_workers=1)
    first, second = order(loader), order(loader)
    assert first != second
    assert loader.epoch == 1
    loader.set_epoch(0)
    assert order(loader) == first
    for _ in loader:
        break
    assert order(loader) != second  # an epoch that was left is over
    assert len(loader) * 8 == len(first)


def test_resumed_epochs_go_on_with_the_next_batch(cropped: ShardDataset) -> None:
    options: dict[str, Any] = {"global_batch_size": 8, "members": ("image", "sample"), "seed": 5}
    whole = ShardLoader(cropped, num_workers=0, **options)
    whole.set_epoch(2)
    expected = batches(whole)
    stops = ((0, 2, "threads"), (3, 3, "threads"), (5, 1, "processes"), (len(expected), 0, "threads"))
    for stop, number, kind in stops:
        loader = ShardLoader(cropped, num_workers=2, **options)
        loader.set_epoch(2)
        for step, _ in enumerate(loader, 1):
            if step >= stop:
                break
        state = json.loads(json.dumps(loader.state_dict()))
        again = ShardLoader(cropped, num_workers=number, workers=kind, **options)  # type: ignore[arg-type]
        again.load_state_dict(state)
        again.set_epoch(2)
        assert same(batches(again), expected[max(stop, 1) :])
        again.close()
    with pytest.raises(UsageError, match="seed was 5 and is now 6"):
        ShardLoader(cropped, global_batch_size=8, seed=6).load_state_dict(state)


def test_trainers_that_set_no_epoch_begin_and_resume_the_right_one(cropped: ShardDataset) -> None:
    def order(loader: ShardLoader) -> list[list[int]]:
        return [samples.tolist() for (samples,) in loader]

    options: dict[str, Any] = {"global_batch_size": 8, "members": ("sample",), "num_workers": 0}
    loader = ShardLoader(cropped, **options)
    iter(loader)  # and never used
    first, state, second = order(loader), loader.state_dict(), order(loader)
    for epoch, expected in ((None, second), (0, []), (1, second), (3, None)):
        again = ShardLoader(cropped, **options)
        again.load_state_dict(state)
        if epoch is not None:
            again.set_epoch(epoch)
        found = order(again)
        assert again.epoch == (1 if epoch is None else epoch)
        assert found == expected or (expected is None and found not in (first, second))


def test_evaluation_is_exact_on_any_number_of_ranks(out: Path) -> None:
    dataset = ShardDataset(out, split="validation", transform=CenterCrop(SIDE))
    options: dict[str, Any] = {"global_batch_size": 7, "shuffle": False, "last": "exact", "num_workers": 1}
    for world in (1, 2, 5):
        seen: list[int] = []
        lengths = set()
        for rank in range(world):
            loader = ShardLoader(dataset, members=("image", "sample", "valid"), rank=rank, world=world, **options)
            for images, samples, valid in loader:
                assert len(images) == len(samples) == len(valid)
                seen += samples[valid].tolist()
            lengths.add(len(loader))
        assert sorted(seen) == list(range(len(dataset)))
        assert lengths == {-(-len(dataset) // 7)}
    with pytest.raises(UsageError, match='ask for the member "valid"'):
        ShardLoader(dataset, rank=0, world=2, **options)


def test_labels_can_be_laid_over(out: Path) -> None:
    dataset = ShardDataset(out, split="train", decode=True, members=("cls",))
    dataset.labels = (np.arange(len(dataset)) + 100).astype(np.int32)
    loader = ShardLoader(dataset, global_batch_size=8, members=("cls", "sample"), num_workers=0)
    assert dataset[3] == (103,)
    assert all(np.array_equal(labels, samples + 100) for labels, samples in batches(loader))


@pytest.mark.readers
@pytest.mark.filterwarnings("ignore")
def test_a_plain_data_loader_and_torchvision_transforms(out: Path) -> None:
    from torch.utils.data import DataLoader, RandomSampler
    from torchvision.transforms import v2

    transform = v2.Compose([v2.ToImage(), v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip()])
    dataset = ShardDataset(out, split="train", members=("image", "cls"), transform=transform)
    loader = DataLoader(dataset, batch_size=8, sampler=RandomSampler(dataset), num_workers=2)  # type: ignore[arg-type]
    labels = []
    for images, classes in loader:
        assert images.shape[1:] == (3, SIDE, SIDE)
        labels += classes.tolist()
    assert sorted(labels) == sorted(dataset.labels.tolist())
    ours = ShardLoader(dataset, global_batch_size=8, num_workers=1)
    images, classes = next(iter(ours))
    assert images.shape == (8, 3, SIDE, SIDE)
    ours.close()


@pytest.mark.filterwarnings("ignore")  # of memory that cannot be pinned
def test_a_plain_data_loader_with_spawned_workers(out: Path) -> None:
    from torch.utils.data import DataLoader

    dataset = ShardDataset(out, split="train", members=("image", "cls"), transform=CenterCrop(SIDE))
    options: dict[str, Any] = {"num_workers": 1, "multiprocessing_context": "spawn", "pin_memory": True}
    loader = DataLoader(dataset, batch_size=16, **options)  # type: ignore[arg-type]
    ours = ShardLoader(dataset, global_batch_size=16, shuffle=False, last="exact", num_workers=0, pin_memory=True)
    assert same(batches(loader), batches(ours))  # type: ignore[arg-type]


@pytest.mark.readers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("split", ["train", "validation"])
def test_other_readers_see_the_same_samples(out: Path, split: str) -> None:
    import webdataset
    from birder.data.datasets.webdataset import make_wds_dataset, wds_args_from_info
    from timm.data.readers import create_reader

    dataset = ShardDataset(out, split=split)
    ours = {sample["__key__"]: (np.asarray(sample["jpg"], int), sample["cls"]) for sample in dataset[:]}
    urls = [str(out / name) for name in manifest(out)["splits"][split]["filenames"]]
    theirs = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in theirs] == list(dataset.keys)
    paths, size = wds_args_from_info(str(out / "_info.json"), split)
    birder = make_wds_dataset(paths, dataset_size=size, shuffle=False, samples_names=True, transform=_as_it_is)
    timm = create_reader("wds/", root=str(out), split=split, is_training=False, batch_size=1)
    for sample, (_, label), (name, pixels, birders_label) in zip(theirs, timm, birder, strict=True):
        image, ours_label = ours[sample["__key__"]]
        assert ours_label == sample["cls"] == label == birders_label
        assert name.rpartition("/")[2].partition(".")[0] == sample["__key__"]
        assert np.abs(image - np.asarray(sample["jpg"])).max() <= 4
        assert np.abs(image - np.asarray(pixels).transpose(1, 2, 0)).max() <= 4


def _as_it_is(image: Any) -> Any:
    return image


def test_torch_is_not_needed(out: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from shardforge.loader.dataset import ShardDataset\n"
        "from shardforge.loader.loader import ShardLoader\n"
        "loader = ShardLoader(ShardDataset(sys.argv[1], split='train', decode=False), global_batch_size=8,\n"
        "                     members=('jpg', 'sample'))\n"
        "batches = list(loader)\n"
        "print(sum(len(images) for images, _ in batches if type(images[0]) is bytes))\n"
        "assert type(batches[0][1]).__name__ == 'ndarray'\n"
    )
    done = subprocess.run([sys.executable, "-c", code, out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(read_tars(out, "train"))


def test_bench_loader_measures(out: Path) -> None:
    arguments = ("bench-loader", out, "--split", "train", "--seconds", 0.1, "--batch-size", 8, "--json")
    for options in ((), ("--raw",)):
        found = json.loads(run(*arguments, *options).stdout)
        assert found["samples"] >= 8
        assert found["samples_per_second"] > 0
        assert found["megabytes_per_second"] > 0
        assert 0 <= found["wait_share"] <= 1


@pytest.mark.parametrize("option", ["--seconds", "--step-ms", "--cache-size"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_bench_loader_takes_finite_numbers(out: Path, option: str, value: str) -> None:
    assert f"{value} is not a finite number" in run("bench-loader", out, option, value, code=2).stderr


def test_bench_loader_of_tars_without_samples_or_images(tmp_path: Path) -> None:
    for members, message in [
        ((), "the dataset has no samples to read"),
        (("a.cls",), "no sample has it; choose of cls, "),
    ]:
        tar = tmp_path / f"{len(members)}.tar"
        with tarfile.open(tar, "w") as file:
            for name in members:
                file.addfile(tarfile.TarInfo(name))
        said = run("bench-loader", tar, code=2).stderr
        assert message in said
        assert ("choose of cls, __key__" in said) == bool(members)
