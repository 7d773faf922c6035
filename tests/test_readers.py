"""The field's own readers return exactly the samples, labels and counts of the manifest."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from pipeline import manifest, prepare, write

pytestmark = [pytest.mark.readers, pytest.mark.filterwarnings("ignore")]

Samples = dict[str, int]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    folder = tmp_path_factory.mktemp("readers")
    db = prepare(folder, f"photos=table:{photos / 'photos.csv'}")
    write(db, folder / "shards", "--label", "family")
    return folder / "shards"


def expected(out: Path, split: str) -> Samples:
    """Return {key: label} by the index."""
    import pyarrow.parquet as pq

    rows = pq.read_table(out / "index" / f"{split}.parquet")
    samples = dict(zip(rows["key"].to_pylist(), rows["label"].to_pylist(), strict=True))
    assert len(samples) == manifest(out)["splits"][split]["num_samples"]
    return samples


@pytest.mark.parametrize("split", ["train", "validation"])
def test_webdataset(out: Path, split: str) -> None:
    import webdataset

    urls = [str(out / name) for name in manifest(out)["splits"][split]["filenames"]]
    samples = {}
    for sample in webdataset.WebDataset(urls, shardshuffle=False).decode("pil"):
        assert sample["jpg"].size == (64, 64)
        assert sample["json"]["key"] == sample["__key__"]
        samples[sample["__key__"]] = sample["cls"]
    assert samples == expected(out, split)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_timm(out: Path, split: str) -> None:
    from timm.data.readers import create_reader

    reader = create_reader("wds/", root=str(out), split=split, is_training=False, batch_size=1)
    labels = sorted(label for _, label in reader)
    assert labels == sorted(expected(out, split).values())
    assert len(reader) == len(labels)


@pytest.mark.parametrize(("name", "split"), [("training", "train"), ("validation", "validation")])
def test_birder(out: Path, name: str, split: str) -> None:
    import webdataset
    from birder.data.datasets.webdataset import make_wds_dataset, wds_args_from_info

    paths, size = wds_args_from_info(str(out / "_info.json"), name)
    assert size == len(expected(out, split))
    dataset = make_wds_dataset(
        paths, dataset_size=size, shuffle=False, samples_names=True, transform=lambda image: image
    )
    assert isinstance(dataset, webdataset.WebDataset)
    samples = {sample[0].rpartition("/")[2].partition(".")[0]: sample[2] for sample in dataset}
    assert samples == expected(out, split)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_wids(out: Path, split: str) -> None:
    import wids

    ours = set(manifest(out)["splits"][split]["filenames"])
    shards = [{**shard, "url": str(out / shard["url"])} for shard in manifest(out)["shardlist"] if shard["url"] in ours]
    dataset = wids.ShardListDataset(shards)
    samples = {dataset[i]["__key__"]: int(dataset[i][".cls"]) for i in range(len(dataset))}
    assert samples == expected(out, split)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_hugging_face_datasets(out: Path, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    files = [str(out / name) for name in manifest(out)["splits"][split]["filenames"]]
    stream = datasets.load_dataset(
        "webdataset", data_files={split: files}, split=split, streaming=True, cache_dir=str(tmp_path)
    )
    samples = {}
    for sample in stream:
        assert sample["jpg"].size == (64, 64)
        samples[sample["__key__"]] = sample["cls"]
    assert samples == expected(out, split)


def test_open_clip_sizes(out: Path) -> None:
    for split in ("train", "validation"):
        sizes = json.loads((out / split / "sizes.json").read_text())
        assert sum(sizes.values()) == len(expected(out, split))
        assert set(sizes) == {path.name for path in (out / split).glob("*.tar")}


def test_python_tarfile_and_pillow_alone(out: Path) -> None:
    import tarfile

    with tarfile.open(out / "train" / "shards-train-000000.tar") as tar:
        names = tar.getnames()
        image = Image.open(io.BytesIO(tar.extractfile(names[0]).read()))
    assert len(names) == 3 * 8
    assert image.mode == "RGB"
