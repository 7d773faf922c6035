"""iNat21, EOL and BIOSCAN through every command, with all that makes names and copies hard; and what must hold then."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from biology import (
    TAXA,
    Laid,
    Row,
    inat_folder,
    make_bioscan,
    make_eol,
    make_inat21,
    make_rare_species,
    pick_taxa,
    picture,
    ranks_of,
)
from PIL import Image
from pipeline import manifest, run, write

from shardforge.mapping import open_mapping
from shardforge.records import RANKS
from shardforge.splits.checks import check_mapping
from shardforge.taxonomy.text import TEXTS, make_text, text_extension

#: A plant whose genus has a diaeresis, which the file system writes as two characters.
ISOETES = ("Plantae", "Tracheophyta", "Lycopodiopsida", "Isoetales", "Isoetaceae", "Isoëtes", "Isoëtes lacustris")

SPLIT = (
    *("--seed", 17, "--val-split", 15, "--test-split", 15, "--rule", "exact", "--hold-out-taxa", "25%"),
    *("--group-by", "group_id", "--group-near-duplicates"),
)
SEEN = {"train", "validation", "test", "pretrain"}
UNSEEN = {"validation_unseen", "test_unseen"}


@dataclass(frozen=True)
class Tree:
    """What lies on disk, and which of it a test is about; images as (source, path)."""

    root: Path
    laid: dict[str, list[Laid]]
    synonym: Row
    subspecies: Row
    exact: tuple[tuple[str, str], tuple[str, str]]
    near: tuple[tuple[str, str], tuple[str, str]]
    seen_rare: Laid
    unseen_rare: Laid
    leaked: tuple[str, str]

    def map_options(self) -> list[object]:
        """Return the options of `map` after `--db`."""
        return [
            *("--source", f"inat=inat21:{self.root / 'inat21'}", "--option", "inat.annotations=train.json,val.json"),
            *("--source", f"eol=eol:{self.root / 'eol' / 'media'}"),
            *("--option", "eol.names=../taxon.tab,../provider_ids.csv", "--option", "eol.licenses=../media_*.csv"),
            *("--source", f"bioscan=bioscan:{self.root / 'bioscan'}", "--option", "bioscan.metadata=metadata.tsv"),
            *("--names", f"table:{TAXA}", "--names", f"eol:{self.root / 'eol' / 'vernacularnames.csv'}"),
            *("--names-cache", self.root / "cache", "--workers", 0),
        ]

    def split_options(self) -> list[object]:
        """Return the options of `split` after `--db`."""
        lists = ("--exclude", f"{self.root}/seen_in_training.json")
        return [*SPLIT, *lists, "--exclude-taxa", f"{self.root}/unseen_in_training.json"]


@dataclass(frozen=True)
class World:
    """The tree, its mapping after `split`, and two datasets written from it."""

    tree: Tree
    db: Path
    species: Path
    genus: Path


def lay_out(root: Path, photos: Path) -> Tree:
    """Lay out the three sources, copies across them, lists of rare species, and a benchmark that holds one of them."""
    laid = {
        "inat": make_inat21(root / "inat21", photos),
        "eol": make_eol(root / "eol", photos),
        "bioscan": make_bioscan(root / "bioscan", photos),
    }
    synonym, subspecies = (pick_taxa(test, 1)[0] for test in (is_synonym, is_subspecies))
    strange = {**dict(zip(RANKS, ISOETES, strict=True)), "name": ISOETES[-1]}
    for number, row in enumerate((synonym, subspecies, strange), start=900):
        written = {**row, "genus": row["name"].split()[0], "species": row["name"]}
        folder = unicodedata.normalize("NFD", inat_folder(number, written))
        path = f"train/{folder}/{number:08x}.jpg"
        place = root / "inat21" / path
        place.parent.mkdir()
        place.write_bytes(picture(photos, number - 200))
        laid["inat"].append(Laid(path, ranks_of(row)))
    first, second, third = (laid["inat"][number] for number in (0, 20, 8))
    target, other, *_ = (image for image in laid["eol"] if "::" not in image.path and all(image.ranks))
    media = root / "eol" / "media"
    shutil.copyfile(root / "inat21" / first.path, media / target.path)
    encode_again(root / "inat21" / second.path, media / other.path)
    seen, unseen = make_rare_species(root, laid["eol"][6:])
    (root / "benchmark").mkdir()
    encode_again(root / "inat21" / third.path, root / "benchmark" / "a.jpg")
    (root / "benchmark" / "b.jpg").write_bytes(picture(photos, 1700))
    exact, near = ((("inat", one.path), ("eol", two.path)) for one, two in ((first, target), (second, other)))
    return Tree(root, laid, synonym, subspecies, exact, near, seen, unseen, ("inat", third.path))


def is_synonym(row: Row) -> bool:
    return is_animal(row) and len(row["name"].split()) == 2 and row["name"] != row["species"]


def is_subspecies(row: Row) -> bool:
    return is_animal(row) and row["name"].isascii() and row["name"].split()[:-1] == row["species"].split()


def is_animal(row: Row) -> bool:
    return row["kingdom"] == "Metazoa" and all(row[rank] for rank in RANKS)


def encode_again(source: Path, target: Path) -> None:
    with Image.open(source) as photo:
        photo.save(target, "JPEG", quality=60)


@pytest.fixture(scope="module")
def world(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("biology")
    tree = lay_out(root, photos)
    db = root / "mapping.duckdb"
    run_pipeline(tree, db)
    world = World(tree, db, root / "species", root / "genus")
    write_both(db, world.species, world.genus)
    return world


def run_pipeline(tree: Tree, db: Path) -> None:
    run("map", "--db", db, *tree.map_options())
    run("duplicates", "--db", db, "--workers", 0)
    run("split", "--db", db, *tree.split_options())


def write_both(db: Path, species: Path, genus: Path) -> None:
    write(db, species, "--label", "species", "--text", "all", "--unlabelled", "pretrain")
    write(db, genus, "--label", "genus", "--unlabelled", "leave-out")


def rows(world: World, sql: str, **values: object) -> list[tuple]:
    with open_mapping(world.db) as mapping:
        return mapping.rows(sql, **values)


def splits_of(out: Path) -> dict[str, dict]:
    """Return the splits of a dataset's manifest, each under one name."""
    return {name: split for name, split in manifest(out)["splits"].items() if name != "training"}


def catalog(out: Path) -> list[dict]:
    run("catalog", out)
    return pq.read_table(out / "catalog.parquet").to_pylist()


def list_members(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


# Files and names


def test_every_file_has_a_row_and_every_row_one_outcome(world: World) -> None:
    found = {(source, path): reason for source, path, reason in rows(world, "SELECT source, path, reason FROM images")}
    assert found == {(source, image.path): image.reason for source, laid in world.tree.laid.items() for image in laid}
    joined = "SELECT o.reason FROM images AS i LEFT JOIN outcomes AS o ON o.key = i.key AND o.dataset = $out"
    for out in (world.species, world.genus):
        outcomes = Counter(reason for (reason,) in rows(world, joined, out=str(out)))
        assert outcomes.total() == len(found)
        assert None not in outcomes
        samples = sum(split["num_samples"] for split in splits_of(out).values())
        assert outcomes["ok"] == samples == len(catalog(out))


def test_names_are_of_one_taxonomy_in_all_sources(world: World) -> None:
    named = "SELECT path, kingdom, genus, species, metadata FROM images WHERE reason IS NULL"
    found = {path: tuple(row) for path, *row in rows(world, named)}
    assert {kingdom for kingdom, *_ in found.values()} <= {"Animalia", "Plantae", "Fungi", None}
    renamed, subspecies, strange = (image.path for image in world.tree.laid["inat"][-3:])
    for path, row in ((renamed, world.tree.synonym), (subspecies, world.tree.subspecies)):
        *taxon, metadata = found[path]
        assert taxon == ["Animalia", row["genus"], row["species"]]
        assert json.loads(metadata)["given"]["species"] == row["name"]
    assert found[strange][:3] == ("Plantae", "Isoëtes", "Isoëtes lacustris")
    assert {species for _, genus, species, _ in found.values() if genus == "Salix"} == {"Salix × fragilis"}


def test_homonyms_are_two_classes_and_a_missing_rank_tears_none(world: World) -> None:
    classes = (world.genus / "classes.txt").read_text().splitlines()
    assert [name for name in classes if name.startswith("Prunella")] == ["Prunella (Animalia)", "Prunella (Plantae)"]
    assert len(classes) == len(set(classes))
    for row in catalog(world.genus):
        if row["split"] == "pretrain":
            assert row["class_index"] is None
            continue
        assert classes[row["class_index"]] == row["class_name"]
        assert row["class_name"] in (row["genus"], f"{row['genus']} ({row['kingdom']})")


# Splits


def test_no_held_out_species_and_no_group_or_near_pair_stands_on_two_sides(world: World) -> None:
    with open_mapping(world.db) as mapping:
        assert [check for check in check_mapping(mapping) if check.rows] == []
        assert mapping.rows(mapping.query("leakage_by_near_duplicates").rstrip().rstrip(";")) == []
    placed = rows(world, "SELECT split, species, group_id FROM images JOIN (SELECT key, split FROM splits) USING (key)")
    seen, unseen = ({name for split, name, _ in placed if split in side and name} for side in (SEEN, UNSEEN))
    assert unseen
    assert not seen & unseen
    assert {split for split, *_ in placed} >= {"train", *UNSEEN}
    copies = "SELECT source, path, content_hash, cluster FROM images LEFT JOIN near_duplicates USING (content_hash)"
    found = {(source, path): pictures for source, path, *pictures in rows(world, copies)}
    one, two = (found[image] for image in world.tree.exact)
    assert one[0] == two[0]
    one, two = (found[image] for image in world.tree.near)
    assert one[0] != two[0]
    assert one[1] == two[1] is not None
    groups = {(group, split) for split, _, group in placed if group}
    assert len(groups) == len(dict(groups))


def test_excluded_images_are_counted_and_in_no_shard(world: World) -> None:
    tree = world.tree
    rare = str(tree.unseen_rare.ranks[-1])
    wanted = {key for (key,) in rows(world, "SELECT key FROM images WHERE species = $rare", rare=rare)}
    wanted |= {key for (key,) in rows(world, "SELECT key FROM images WHERE path = $path", path=tree.seen_rare.path)}
    excluded = {key for (key,) in rows(world, "SELECT DISTINCT key FROM exclusions WHERE key IS NOT NULL")}
    assert wanted == excluded
    assert len(wanted) > 2  # also of the species' images that no list names
    for out in (world.species, world.genus):
        packed = {name.partition(".")[0] for path in out.glob("*/*.tar") for name in list_members(path)}
        assert packed
        assert not packed & excluded
        counts = rows(world, "SELECT count(*) FROM outcomes WHERE reason = 'excluded' AND dataset = $o", o=str(out))
        assert counts == [(len(excluded),)]


# Datasets and their readers


@pytest.mark.filterwarnings("ignore")
@pytest.mark.readers
def test_webdataset_reads_images_classes_and_texts(world: World) -> None:
    import webdataset

    told = {row["key"]: row for row in catalog(world.species)}
    for name, split in splits_of(world.species).items():
        urls = [str(world.species / path) for path in split["filenames"]]
        for sample in webdataset.WebDataset(urls, shardshuffle=False).decode("pil"):
            row = told.pop(sample["__key__"])
            assert ("cls" in sample) == (name != "pretrain")
            assert sample.get("cls") == row["class_index"]
            assert sample["json"].get("license") == row["license"]
            for kind in TEXTS:
                assert sample[text_extension(kind)] == make_text(kind, row)
    assert told == {}


@pytest.mark.readers
def test_hugging_face_reads_the_dataset_by_its_card(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    run("card", world.genus, "--db", world.db)
    loaded = datasets.load_dataset(str(world.genus), cache_dir=str(tmp_path))
    samples = {name: split["num_samples"] for name, split in splits_of(world.genus).items()}
    assert {name: part.num_rows for name, part in loaded.items()} == samples
    first = loaded["train"][0]
    assert loaded["train"].features["cls"].int2str(first["cls"]).partition(" (")[0] == first["json"]["genus"]


def test_verify_finds_every_image_where_mapping_and_manifest_say(world: World) -> None:
    for out in (world.species, world.genus):
        checked = run("verify", out, "--db", world.db, "--level", "decode", "--workers", 0)
        assert (checked.stdout, checked.stderr) == ("", "")
    run("verify", "--shardlist", world.species / "train", "--workers", 0)


def test_the_same_figures_in_statistics_card_and_catalog(world: World) -> None:
    found = json.loads(run("stats", "--db", world.db, "--json").stdout)
    images = sum(len(laid) for laid in world.tree.laid.values())
    bad = Counter(image.reason for laid in world.tree.laid.values() for image in laid)
    usable = bad.pop(None)
    reasons = Counter[str | None]()
    for row in found["reasons"]:
        reasons[row["reason"]] += row["images"]
    assert reasons == {None: usable, **bad}
    assert sum(row["images"] for row in found["sources"]) == images
    excluded = len(rows(world, "SELECT DISTINCT key FROM exclusions WHERE key IS NOT NULL"))
    assert sum(row["images"] for row in found["splits"]) == usable - excluded
    assert {row["licence"] for row in found["licences"]} == {"CC BY", "CC BY 2.0", "CC BY-NC-SA 3.0", "CC0 1.0", None}
    told = json.loads(run("stats", "--db", world.db, "--dataset", world.species, "--json").stdout)
    licences = Counter(row["license_name"] for row in catalog(world.species))
    assert {row["licence"]: row["images"] for row in told["licences"]} == licences
    card = run("card", world.species, "--db", world.db)
    text = (world.species / "README.md").read_text()
    assert card.stderr == ""
    assert f"num_examples: {manifest(world.species)['splits']['train']['num_samples']}\n" in text
    assert all(name in text for name in licences if name)


def test_a_benchmark_that_holds_a_picture_leaks_until_it_is_excluded(world: World, tmp_path: Path) -> None:
    db = tmp_path / "mapping.duckdb"
    shutil.copyfile(world.db, db)
    leaks = ("leaks", "--db", db, "--against", world.tree.root / "benchmark", "--workers", 0)
    report = tmp_path / "report"
    run(*leaks, "--report", report, code=1)
    lines = csv.DictReader((report / "leaks.csv").read_text().splitlines())
    assert ":".join(world.tree.leaked) in [row["image"] for row in lines]
    run("split", "--db", db, *world.tree.split_options(), "--exclude", report / "leaks.csv")
    run(*leaks)


# Again


def test_second_runs_change_nothing(world: World) -> None:
    before = snapshot(world)
    mapped = json.loads(run("map", "--db", world.db, *world.tree.map_options(), "--json").stdout)
    for source in mapped["sources"].values():
        assert {source[change] for change in ("new", "changed", "described", "vanished")} == {0}
    found = json.loads(run("duplicates", "--db", world.db, "--workers", 0, "--json").stdout)
    assert found["hashing"]["hashed"] == 0
    assert "Nothing changed since the last run." in run("split", "--db", world.db, *world.tree.split_options()).stdout
    write_both(world.db, world.species, world.genus)
    assert snapshot(world) == before


def snapshot(world: World) -> dict[str, object]:
    """Renew the cards and return what then stands in both datasets, and in the mapping."""
    for out in (world.species, world.genus):
        run("card", out, "--db", world.db)
    places = (
        path for out in (world.species, world.genus) for path in out.rglob("*") if ".shardforge" not in path.parts
    )
    files = {str(path): path.read_bytes() for path in places if path.is_file()}
    return files | {table: sorted(rows(world, f"SELECT * FROM {table}"), key=str) for table in ("images", "splits")}


def test_both_engines_give_the_same_plan(world: World, tmp_path: Path) -> None:
    other = tmp_path / "mapping.sqlite"
    run_pipeline(world.tree, other)
    plans = [
        json.loads(write(db, tmp_path / "x", "--label", "genus", "--text", "all", "--dry-run", "--json").stdout)
        for db in (world.db, other)
    ]
    assert plans[0] == plans[1]
