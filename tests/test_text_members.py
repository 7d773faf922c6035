from __future__ import annotations

import json
import tarfile
from argparse import Namespace
from functools import partial
from pathlib import Path

import pytest
from pipeline import manifest, prepare, run, shard_hashes, write

from shardforge.taxonomy.text import FIELDS, TEXTS, make_text

DOCS = Path(__file__).resolve().parent.parent / "docs" / "names.md"
MALLARD = {
    "kingdom": "Animalia",
    "phylum": "Chordata",
    "class": "Aves",
    "order": "Anseriformes",
    "family": "Anatidae",
    "genus": "Anas",
    "species": "Anas platyrhynchos",
    "common_name": "mallard",
}


def texts(**changes: str | None) -> dict[str, str]:
    """Return the text of every kind for a mallard of which something else is known."""
    record = MALLARD | {name.replace("class_", "class"): value for name, value in changes.items()}
    return {kind: make_text(kind, record) for kind in TEXTS}


def test_texts_are_those_of_tree_of_life_10m() -> None:
    ranks = "Animalia Chordata Aves Anseriformes Anatidae Anas platyrhynchos"
    tagged = "kingdom Animalia phylum Chordata class Aves order Anseriformes family Anatidae genus Anas species "
    assert texts() == {
        "sci": "a photo of Anas platyrhynchos.",
        "com": "a photo of mallard.",
        "taxon": f"a photo of {ranks}.",
        "taxonTag": f"a photo of {tagged}platyrhynchos.",
        "sci_com": "a photo of Anas platyrhynchos with common name mallard.",
        "taxon_com": f"a photo of {ranks} with common name mallard.",
        "taxonTag_com": f"a photo of {tagged}platyrhynchos with common name mallard.",
        "scientific_name": "Anas platyrhynchos",
        "taxonomic_name": ranks,
        "common_name": "mallard",
    }


def test_what_is_not_known_leaves_no_gap() -> None:
    assert texts(common_name=None)["sci_com"] == "a photo of Anas platyrhynchos with common name Anas platyrhynchos."
    ragged = texts(class_=None, order="", species="unknown", common_name=None)
    assert ragged["taxon"] == "a photo of Animalia Chordata Anatidae Anas."
    assert (ragged["sci"], ragged["com"]) == ("a photo of Anas.", "a photo of Anas.")
    family = texts(genus=None, species=None, common_name=None)
    assert (family["sci"], family["common_name"]) == ("a photo of Anatidae.", "Anatidae")
    nameless = {kind: make_text(kind, {"common_name": "duck"}) for kind in TEXTS}
    assert (nameless["sci"], nameless["taxon"]) == ("a photo of duck.", "a photo of duck.")
    assert {make_text(kind, {}) for kind in TEXTS} == {""}


@pytest.mark.parametrize(
    ("genus", "species", "scientific", "end"),
    [
        ("Anas", "platyrhynchos", "Anas platyrhynchos", "Anas platyrhynchos"),
        ("Salix", "Salix ×fragilis", "Salix × fragilis", "Salix × fragilis"),
        (None, "Ceratotherium simum simum", "Ceratotherium simum simum", "Ceratotherium simum simum"),
        ("Anas", "Anas platyrhynchos Linnaeus, 1758", "Anas platyrhynchos", "Anas platyrhynchos"),
    ],
)
def test_hybrids_trinomials_and_epithets(genus: str | None, species: str, scientific: str, end: str) -> None:
    made = texts(genus=genus, species=species)
    assert made["scientific_name"] == scientific
    assert made["taxonomic_name"] == f"Animalia Chordata Aves Anseriformes Anatidae {end}"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return a dataset with the texts of all kinds and a caption."""
    folder = tmp_path_factory.mktemp("texts")
    db = prepare(folder, f"photos=table:{photos / 'photos.csv'}")
    write(db, folder / "out", "--label", "family", "--text", "all", "--caption", "taxon_com")
    return folder / "out"


def test_text_members_follow_the_others_in_lower_case(out: Path) -> None:
    members = ["jpg", "cls", "json", "txt", *(f"{kind.lower()}.txt" for kind in TEXTS)]
    assert manifest(out)["shardforge"]["members"] == members
    with tarfile.open(out / "train" / "out-train-000000.tar") as tar:
        sample = {
            tar.next().name.partition(".")[2]: tar.extractfile(tar.members[i]).read() for i in range(len(members))
        }
    record = json.loads(sample["json"])
    for kind in TEXTS:
        assert sample[f"{kind.lower()}.txt"].decode() == make_text(kind, record)
    assert sample["txt"] == sample["taxon_com.txt"]
    run("verify", out / "_info.json", "--level", "decode", "--workers", 0)


def test_texts_are_part_of_what_decides_a_shard(out: Path, tmp_path: Path, photos: Path) -> None:
    db = out.parent / "mapping.duckdb"
    write(db, tmp_path / "out", "--label", "family", "--text", "sci", "--name", "out")
    before = shard_hashes(tmp_path / "out")
    write(db, tmp_path / "out", "--label", "family", "--text", "com", "--name", "out", "--replace")
    assert set(shard_hashes(tmp_path / "out").values()).isdisjoint(before.values())
    outcome = write(db, tmp_path / "out", "--label", "family", "--text", "com", "--name", "out")
    assert "0 shards written" in outcome.stdout


def test_samples_without_a_taxon_are_counted(image_tree: Path, tmp_path: Path) -> None:
    db = prepare(tmp_path, f"a=folder:{image_tree}", "--rule", "exact", "--val-split", 30)
    outcome = write(db, tmp_path / "out", "--text", "sci,com")
    assert "12 samples have empty texts" in outcome.stderr
    run("verify", tmp_path / "out" / "_info.json", "--level", "decode", "--workers", 0)


def test_unknown_and_doubled_texts_are_refused(out: Path, tmp_path: Path) -> None:
    db = out.parent / "mapping.duckdb"
    both = write(db, tmp_path / "o", "--text", "all,sci", code=2)
    assert "--text nix: not known; choose of sci, com" in write(db, tmp_path / "o", "--text", "nix", code=2).stderr
    assert "--caption nix: not known" in write(db, tmp_path / "o", "--caption", "nix", code=2).stderr
    assert "--text all,sci: all stands for every kind: give it alone" in both.stderr
    twice = write(db, tmp_path / "o", "--members", "common_name.txt", "--text", "common_name", code=2)
    assert "the member common_name.txt stands there twice" in twice.stderr


def captions(out: Path, split: str, kind: str) -> list[str]:
    """Return the texts of a split by the index and the tars themselves."""
    found = []
    for name in manifest(out)["splits"][split]["filenames"]:
        with tarfile.open(out / name) as tar:
            found += [tar.extractfile(m).read().decode() for m in tar if m.name.endswith(f".{kind.lower()}.txt")]
    return sorted(found)


@pytest.mark.readers
@pytest.mark.filterwarnings("ignore")
def test_open_clip_trains_on_the_captions(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from open_clip_train import data as open_clip
    from open_clip_train.data import get_dataset_size, get_wds_dataset

    # open_clip is written for webdataset 0.2.86; since then its expander marks the end of a shard, unless told not to.
    monkeypatch.setattr(open_clip, "tar_file_expander", partial(open_clip.tar_file_expander, eof_value=None))
    shards = str(out / "train" / "out-train-{000000..000004}.tar")
    assert get_dataset_size(shards) == (manifest(out)["splits"]["train"]["num_samples"], 5)
    arguments = Namespace(
        train_data=shards,
        val_data=str(out / "validation" / "out-validation-{000000..000001}.tar"),
        train_num_samples=None,
        val_num_samples=None,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        batch_size=4,
        world_size=1,
        workers=0,
    )
    read: list[str] = []

    def tokenizer(text: str) -> list[int]:
        read.append(text)
        return [len(read)]

    for is_train in (True, False):
        read.clear()
        data = get_wds_dataset(arguments, lambda image: image.size[0], is_train, tokenizer=tokenizer)
        batches = list(data.dataloader)
        assert {int(size) for sizes, _ in batches for size in sizes} == {64}
        expected = captions(out, "train" if is_train else "validation", "taxon_com")
        assert set(read) <= set(expected)
        assert len(set(read)) >= len(set(expected)) - 4 if is_train else sorted(read) == expected


@pytest.mark.readers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", TEXTS)
def test_webdataset_finds_each_kind_by_its_extension(out: Path, kind: str) -> None:
    import webdataset

    urls = [str(out / name) for name in manifest(out)["splits"]["validation"]["filenames"]]
    samples = webdataset.WebDataset(urls, shardshuffle=False).decode("pilrgb").to_tuple("jpg", f"{kind.lower()}.txt")
    assert sorted(text for _, text in samples) == captions(out, "validation", kind)


def test_the_page_lists_every_kind_and_field() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for kind, template in TEXTS.items():
        assert f"| `{kind}` | `{kind.lower()}.txt` | {template} |" in page
    for field, meaning in FIELDS.items():
        assert f"- `{{{field}}}`: {meaning}" in page
