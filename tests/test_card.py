"""The data card and the catalog: what they say, what a second run leaves alone, and who reads them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from pipeline import manifest, prepare, run, shard_hashes, write

from shardforge.catalog.front_matter import size_category, to_yaml
from shardforge.catalog.markers import fill_parts
from shardforge.errors import DatasetError
from shardforge.mapping import open_mapping

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def db(photos: Path, tmp_path: Path) -> Path:
    return prepare(tmp_path, f"photos=table:{photos / 'photos.csv'}")


@pytest.fixture
def out(db: Path, tmp_path: Path) -> Path:
    out = tmp_path / "shards"
    write(db, out, "--label", "family", "--shard-samples", 20, "--members", "cls,json,species.txt")
    return out


def test_catalog_has_a_row_for_each_sample_in_the_order_of_the_shards(out: Path) -> None:
    printed = run("catalog", out).stdout
    assert printed == f"{out / 'catalog.parquet'}: 45 samples\n"
    rows = pq.read_table(out / "catalog.parquet").to_pylist()
    splits = manifest(out)["splits"]
    places = [
        (split, filename, number)
        for split in ("train", "validation")
        for filename, samples in zip(splits[split]["filenames"], splits[split]["shard_lengths"], strict=True)
        for number in range(samples)
    ]
    assert [(row["split"], row["filename"], row["position"]) for row in rows] == places
    index = pq.read_table(out / "index" / "train.parquet").to_pylist()
    assert [(row["key"], row["class_index"]) for row in rows[: len(index)]] == [(r["key"], r["label"]) for r in index]
    classes = (out / "classes.txt").read_text().splitlines()
    assert all(row["class_name"] == row["family"] == classes[row["class_index"]] for row in rows)
    assert {(row["license"], row["license_name"]) for row in rows} == {
        ("CC0-1.0", "CC0 1.0"),
        ("Public Domain", "Public domain"),
    }
    before = (out / "catalog.parquet").read_bytes()
    run("catalog", out)
    assert (out / "catalog.parquet").read_bytes() == before


def test_catalog_leaves_out_what_could_not_be_written(image_tree: Path, tmp_path: Path) -> None:
    db = prepare(tmp_path, f"images=folder:{image_tree}")
    (image_tree / "fish" / "0.jpg").unlink()
    write(db, tmp_path / "out", "--max-bad", 1)
    run("catalog", tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "catalog.parquet").to_pylist()
    assert len(rows) == 11
    assert "fish/0.jpg" not in {row["path"] for row in rows}
    assert "vanished" in read_card(tmp_path / "out", "--db", db)


def read_card(out: Path, *options: object) -> str:
    run("card", out, *options)
    return (out / "README.md").read_text(encoding="utf-8")


def test_card_says_what_the_dataset_holds(db: Path, out: Path) -> None:
    card = read_card(out, "--db", db)
    assert "\n45 images of 42 species in 33 classes (by family), in 3 WebDataset shards of" in card
    assert "| order | 43 | 95.6% | 22 | 0 | 2 |" in card
    assert "| order | 2 | 2 | Amphiprion ocellaris |" in card
    assert "| CC0 1.0 | 7 | 15.6% | yes | yes | yes | no |" in card
    assert "| `KEY.species.txt` | text: species |" in card
    assert "seed 17 by the rule `exact`" in card
    assert "Nothing: all images that the sources list are in the dataset." in card


def test_second_run_changes_nothing_and_keeps_what_a_person_wrote(db: Path, out: Path) -> None:
    card = read_card(out, "--db", db)
    path = out / "README.md"
    path.write_text(card.replace("[More Information Needed]", "Ein Text von Hand.").replace("45 images", "7 images"))
    assert run("card", out).stdout == f"{path}: written\n"
    again = path.read_text(encoding="utf-8")
    assert again == card.replace("[More Information Needed]", "Ein Text von Hand.")
    inode = path.stat().st_ino
    result = run("card", out, "--db", db)
    assert result.stdout == f"{path}: nothing has changed\n"
    assert path.stat().st_ino == inode


def test_card_written_by_a_person_is_never_changed(out: Path) -> None:
    path = out / "README.md"
    path.write_text("# Our photos\n")
    assert "has no shardforge markers, so a person wrote it" in run("card", out, code=2).stderr
    assert path.read_text() == "# Our photos\n"


def test_card_of_a_folder_that_is_no_dataset(tmp_path: Path, db: Path) -> None:
    assert "_info.json: not found" in run("card", tmp_path, code=2).stderr
    (tmp_path / "_info.json").write_text('{"splits": {"train": {"filenames": [], "shard_lengths": []}}}')
    assert "not of shardforge" in run("card", tmp_path, code=1).stderr


def test_card_refuses_the_mapping_of_another_dataset(image_tree: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = prepare(tmp_path / "other", f"images=folder:{image_tree}")
    assert "does not know the dataset" in run("card", out, "--db", other, code=2).stderr


def test_card_without_plan_reads_the_catalog_that_came_along(out: Path, tmp_path: Path) -> None:
    card = read_card(out)
    copy = tmp_path / "downloaded"
    copy.mkdir()
    for name in ("_info.json", "classes.txt", "catalog.parquet"):
        (copy / name).write_bytes((out / name).read_bytes())
    assert read_card(copy) == card
    (copy / "catalog.parquet").unlink()
    assert "only datasets written by `shardforge write` have a plan" in run("card", copy, code=1).stderr


def test_verify_and_write_accept_card_and_catalog(db: Path, out: Path) -> None:
    card = read_card(out)
    assert run("verify", out, "--db", db).stderr == ""
    options = ("--label", "family", "--members", "cls,json,species.txt")
    write(db, out, *options, "--shard-samples", 10, "--replace")
    assert (out / "README.md").read_text() == card
    assert "catalog.parquet: a file beside the shards does not agree" in run("verify", out, code=1).stderr
    assert "catalog.parquet: written again" in run("verify", out, "--repair").stderr
    assert read_card(out) != card
    run("verify", out)


def test_subset_counts_its_images_once(image_tree: Path, tmp_path: Path) -> None:
    db = prepare(tmp_path, f"images=folder:{image_tree}", "--rule", "exact", "--val-split", 25, "--subset", "small=60")
    write(db, tmp_path / "out", "--splits", "train,small,validation")
    card = read_card(tmp_path / "out")
    assert "\n12 images in 3 classes (by label)" in card
    assert "| images | 12 | 0 |" in card


@pytest.fixture
def open_world(photos: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return a mapping with photos that have no genus but a folder as label, and its dataset by genus."""
    unnamed = tmp_path / "unnamed"
    for number, photo in enumerate(sorted(photos.glob("*.webp"))[:6]):
        with Image.open(photo) as image:
            place = unnamed / f"folder {number % 2}" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            image.resize((50 + number, 40)).save(place)
    db = tmp_path / "open.duckdb"
    (tmp_path / "bad.txt").write_text("Bos taurus\n")
    sources = ("--source", f"photos=table:{photos / 'photos.csv'}", "--source", f"unnamed=folder:{unnamed}")
    run("map", "--db", db, *sources, "--workers", 0)
    shares = ("--rule", "exact", "--val-split", 20, "--hold-out-taxa", "20%", "--hold-out-rank", "genus")
    run("split", "--db", db, "--seed", 17, *shares, "--exclude", tmp_path / "bad.txt")
    write(db, tmp_path / "open", "--label", "genus", "--text", "sci")
    return db, tmp_path / "open"


def test_labels_of_images_without_a_class_are_no_classes(open_world: tuple[Path, Path]) -> None:
    db, out = open_world
    classes = len((out / "classes.txt").read_text().splitlines())
    card = read_card(out, "--db", db)
    assert f" in {classes} classes (by genus)" in card
    assert f"The {classes} classes have between 1 and" in card
    [balance] = json.loads(run("stats", "--db", db, "--dataset", out, "--json").stdout)["balance"]
    assert balance["classes"] == classes
    everything = json.loads(run("stats", "--db", db, "--json").stdout)["balance"]
    assert everything[0]["classes"] == 42 + 2, "all that is mapped is counted by label, or else species"


def test_card_speaks_of_splits_and_texts_in_words(open_world: tuple[Path, Path]) -> None:
    db, out = open_world
    card = read_card(out, "--db", db)
    assert "- `pretrain`: images for pre-training only, written without a class" in card
    assert "- `validation_unseen`: images of taxa that training never sees" in card
    assert "| `KEY.sci.txt` | text: a photo of [the species, else" in card
    assert "- shares: validation 20%; the rest is for train\n" in card
    assert "- of the taxa of rank genus, 20% are held out of training; images without a name at this rank" in card
    assert "- kept out by the exclusion lists: `bad`\n" in card
    assert "which webdataset, timm and birder read as it is" in card
    write(db, out, "--label", "genus", "--caption", "sci", "--replace")
    again = read_card(out, "--db", db)
    assert "which webdataset, timm, birder and open_clip read as it is" in again
    assert "| `KEY.txt` | text: a photo of [" in again


def test_the_sizes_of_classes_that_are_not_stored_say_so(db: Path, tmp_path: Path) -> None:
    write(db, tmp_path / "plain", "--label", "none", "--members", "json")
    assert "No classes are stored. By label, or else species, the 42 classes have" in read_card(tmp_path / "plain")
    [balance] = json.loads(run("stats", "--db", db, "--dataset", "plain", "--json").stdout)["balance"]
    assert balance["classes"] == 42


def test_the_command_names_every_file_that_it_wrote(out: Path) -> None:
    files = ("README.md", "croissant.json", "catalog.parquet")
    assert run("card", out).stdout == "".join(f"{out / name}: written\n" for name in files)
    (out / "croissant.json").unlink()
    assert run("card", out).stdout == f"{out / 'croissant.json'}: written\n"


def test_damaged_markers_are_named() -> None:
    text = "a\n<!-- shardforge:one -->\nold\n<!-- /shardforge:one -->\nb\n"
    assert fill_parts(text, {"one": "new", "two": "more"}, "card") == text.replace("old", "new")
    for damaged in (
        text.replace("<!-- /shardforge:one -->", ""),
        text.replace("<!-- shardforge:one -->", ""),
        text.replace("/shardforge:one", "/shardforge:two"),
    ):
        with pytest.raises(DatasetError, match=r"card: .*(partner|not closed)"):
            fill_parts(damaged, {}, "card")
    nested = text.replace("old", "<!-- shardforge:mine-too -->\nby hand\n<!-- /shardforge:mine-too -->")
    with pytest.raises(DatasetError, match=r"card: line 3: .* stands inside the part one, which is made anew"):
        fill_parts(nested, {"one": "new"}, "card")


def test_a_part_of_another_name_stays_and_is_named(db: Path, out: Path) -> None:
    card = read_card(out, "--db", db)
    path = out / "README.md"
    path.write_text(f"{card}\n<!-- shardforge:field-notes -->\nby hand\n<!-- /shardforge:field-notes -->\n")
    result = run("card", out)
    assert result.stdout == f"{path}: nothing has changed\n"
    assert f"Warning: {path}: no part of a card is called field-notes; what stands between" in result.stderr


def test_the_card_does_not_tell_of_a_split_made_since(db: Path, out: Path) -> None:
    assert "The splits follow from seed 17" in read_card(out, "--db", db)
    with open_mapping(db, write=True) as mapping:
        mapping.execute("UPDATE datasets SET written_at = '2000-01-01T00:00:00+00:00'")
    run("split", "--db", db, "--seed", 18, "--val-split", 20)
    assert "The split run `default` that the dataset was written from is no longer in" in read_card(out, "--db", db)


def test_what_a_killed_run_left_goes_with_the_next(out: Path) -> None:
    left = out / ".shardforge" / "tmp" / ".catalog.parquet.host.1.tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    run("catalog", out)
    assert not left.exists()


@pytest.mark.parametrize(
    ("samples", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10_000_000, "10M<n<100M"), (10**13, "n>1T")],
)
def test_size_categories(samples: int, category: str) -> None:
    assert size_category(samples) == category


def test_front_matter_is_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    value = {
        "license": ["cc0-1.0", "other"],
        "nested": {"no": "yes", "0": "Oenanthe: 'x' × \"y\"", "n": 3, "path": "train/*.tar"},
        "list": [{"name": "a", "struct": [{"name": "b"}]}, {"name": "c"}],
    }
    assert yaml.safe_load(to_yaml(value)) == value


def test_croissant_lists_shards_by_their_checksums(db: Path, out: Path) -> None:
    read_card(out)
    content = json.loads((out / "croissant.json").read_text())
    files = {file["@id"]: file["sha256"] for file in content["distribution"]}
    assert files.pop("catalog.parquet") == hashlib.sha256((out / "catalog.parquet").read_bytes()).hexdigest()
    assert files == shard_hashes(out)
    columns = [field["name"] for field in content["recordSet"][0]["field"]]
    assert columns == pq.read_schema(out / "catalog.parquet").names
    assert content["license"] == ["https://creativecommons.org/publicdomain/zero/1.0/"]


@pytest.mark.readers
def test_hugging_face_loads_the_folder(db: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    read_card(out, "--db", db)
    card = hub.DatasetCard.load(out / "README.md")
    assert card.data.license == ["other", "cc0-1.0"]
    assert card.data.size_categories == ["n<1K"]
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    splits = manifest(out)["splits"]
    assert {name: part.num_rows for name, part in loaded.items()} == {
        name: splits[name]["num_samples"] for name in ("train", "validation")
    }
    first = loaded["train"][0]
    labels = loaded["train"].features["cls"]
    assert labels.names == (out / "classes.txt").read_text().splitlines()
    assert first["json"]["family"] == labels.int2str(first["cls"])
    assert first["json"]["species"] == first["species.txt"]
    assert first["json"]["metadata"] == {"scientific_name": first["species.txt"]}
    assert first["jpg"].size == (64, 64)


def test_card_of_the_photos_is_up_to_date() -> None:
    script = ROOT / "scripts" / "make_data_card.py"
    result = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_json_output(out: Path) -> None:
    result = json.loads(run("card", out, "--json").stdout)
    assert result["changed"]
    assert result["left"] == ["split", "left_out"]
