"""Classes at any rank: homonyms, gaps, and records without a class."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline import Outcome, manifest, run, shard_hashes, write
from test_splits import ENGINES, Record, mapping_of

from shardforge.dataset.classes import tell_apart
from shardforge.dataset.collect import collect_planned, count_planned, list_classes
from shardforge.dataset.options import WriteOptions
from shardforge.dataset.spellings import list_spellings
from shardforge.errors import UsageError
from shardforge.images.convert import Conversion
from shardforge.mapping import Mapping, open_mapping
from shardforge.records import RANKS


def path(**names: str) -> tuple[str | None, ...]:
    return tuple(names.get(rank.rstrip("_")) for rank in ("kingdom", "phylum", "class_", "order", "family", "genus"))


BIRD = path(kingdom="Animalia", phylum="Chordata", order="Passeriformes", family="Muscicapidae")
HERB = path(kingdom="Plantae", family="Apiaceae")


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        ([BIRD], [()]),
        ([BIRD, HERB], [("Animalia",), ("Plantae",)]),
        # Gaps: what agrees is one class, also where no rank is known to both.
        ([path(kingdom="Animalia"), BIRD, path(family="Muscicapidae"), path()], [(), (), (), ()]),
        # A lower rank tells where a record belongs that does not know the higher one.
        ([BIRD, HERB, path(family="Apiaceae")], [("Animalia",), ("Plantae",), ("Plantae",)]),
        # What could be either is neither.
        ([BIRD, HERB, path(), path(order="Apiales")], [("Animalia",), ("Plantae",), None, ("Plantae",)]),
        # What agrees with neither is a class of its own.
        ([BIRD, HERB, path(family="Canidae")], [("Animalia",), ("Plantae",), ("Canidae",)]),
        # A record that contradicts the fullest one of a class neither joins it by others' gaps nor tears it apart.
        (
            [BIRD, path(kingdom="Animalia"), path(family="Muscicapidae"), HERB, path(family="Canidae"), path()],
            [("Animalia",), ("Animalia",), ("Animalia",), ("Plantae",), ("Canidae",), None],
        ),
        (
            [BIRD, path(kingdom="Animalia"), path(kingdom="Animalia", family="Canidae")],
            [("Chordata",), ("Chordata",), ("Canidae",)],
        ),
        # The same family name in two orders, below a homonym of another kingdom.
        (
            [path(kingdom="Animalia", order="Diptera"), path(kingdom="Animalia", order="Orthoptera"), HERB],
            [("Animalia", "Diptera"), ("Animalia", "Orthoptera"), ("Plantae",)],
        ),
    ],
)
def test_paths_above_a_name_make_classes_in_any_order(
    paths: list[tuple[str | None, ...]], classes: list[tuple[str, ...] | None]
) -> None:
    expected = dict(zip(paths, classes, strict=True))
    assert tell_apart(paths) == expected
    assert tell_apart(paths[::-1]) == expected


PATHS = st.lists(st.tuples(*(st.sampled_from([None, f"{rank}1", f"{rank}2"]) for rank in RANKS[:-1])), unique=True)


@given(PATHS)
def test_no_two_records_of_a_class_contradict_each_other(paths: list[tuple[str | None, ...]]) -> None:
    classes = tell_apart(paths)
    assert set(classes) == set(paths)
    assert tell_apart(paths[::-1]) == classes
    for one, other in combinations(paths, 2):
        if classes[one] is not None and classes[one] == classes[other]:
            assert all(a == b or a is None or b is None for a, b in zip(one, other, strict=True))


def plan_classes(mapping: Mapping, label: str, **options: Any) -> tuple[dict[str, tuple[str, str | None]], list[str]]:
    """Return key -> (split, class), and the class list, of a dataset of all splits."""
    chosen = WriteOptions(name="x", conversion=Conversion(size=None, resize="none"), label=label, **options)
    collect_planned(mapping, chosen)
    count_planned(mapping, chosen)
    rows = mapping.rows("SELECT key, split, class_name FROM planned")
    return {key: (split, name) for key, split, name in rows}, list_classes(mapping)


def store_run(mapping: Mapping, splits: dict[str, str]) -> None:
    mapping.execute("INSERT INTO split_runs VALUES ('default', 1, 'hash', '{}', '', '')")
    for key, split in splits.items():
        mapping.execute("INSERT INTO splits VALUES ('default', $key, $split, NULL, $key)", key=key, split=split)


RAGGED: list[Record] = [
    {"key": "bird", "kingdom": "Animalia", "family": "Muscicapidae", "genus": "Oenanthe", "species": "oenanthe"},
    {
        "key": "ragged",
        "kingdom": "Metazoa",
        "order": "Passeriformes",
        "genus": "Oenanthe",
        "species": "Oenanthe oenanthe",
    },
    {"key": "herb", "kingdom": "Plantae", "genus": "Oenanthe", "species": "crocata"},
    {"key": "which", "genus": "Oenanthe"},
    {"key": "rose", "kingdom": "Plantae", "family": "Rosaceae", "genus": "Rosa", "species": "alba"},
    {"key": "poplar", "kingdom": "Plantae", "family": "incertae sedis", "genus": "Populus", "species": "alba"},
    {"key": "mint", "family": "Lamiaceae", "genus": "", "species": None},
]


@ENGINES
@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (
            "kingdom",
            {"bird": "Animalia", "ragged": "Animalia", "herb": "Plantae", "rose": "Plantae", "poplar": "Plantae"},
        ),
        (
            "genus",
            {
                "bird": "Oenanthe (Animalia)",
                "ragged": "Oenanthe (Animalia)",
                "herb": "Oenanthe (Plantae)",
                "rose": "Rosa",
                "poplar": "Populus",
            },
        ),
        (
            "species",
            {
                "bird": "Oenanthe oenanthe",
                "ragged": "Oenanthe oenanthe",
                "herb": "Oenanthe crocata",
                "rose": "Rosa alba",
                "poplar": "Populus alba",
            },
        ),
    ],
)
def test_classes_of_ragged_records(engine: str, rank: str, expected: dict[str, str]) -> None:
    with mapping_of(engine, RAGGED) as mapping:
        store_run(mapping, {record["key"]: "train" for record in RAGGED})
        planned, classes = plan_classes(mapping, rank)
    assert {key: name for key, (_, name) in planned.items()} == expected
    assert classes == sorted(set(expected.values()))


DOCUMENTED = (Path(__file__).parents[1] / "docs" / "classes.md").read_text()


@ENGINES
def test_the_documented_table_is_what_the_code_gives(engine: str) -> None:
    lines = [line.strip("|").split("|") for line in DOCUMENTED.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line] for line in lines if len(line) == 5][2:]
    columns = ("kingdom", "order", "family", "genus")
    records = [{"key": f"k{i}", **dict(zip(columns, row[:4], strict=True))} for i, row in enumerate(table)]
    with mapping_of(engine, records) as mapping:
        store_run(mapping, {record["key"]: "train" for record in records})
        planned, _ = plan_classes(mapping, "genus", unlabelled="keep")
    assert len(table) == 7
    expected = {f"k{i}": row[4].split(":")[0] for i, row in enumerate(table)}
    assert {key: name or "none" for key, (_, name) in planned.items()} == expected


@ENGINES
def test_a_name_made_for_a_class_is_not_that_of_another(engine: str) -> None:
    name = "Aus cf. bus"  # open names keep all their words
    taxa = [(name, "Animalia"), (name, "Plantae"), (f"{name} (Animalia)", None), (f"{name} (Plantae)", "Fungi")]
    records = [{"key": f"k{i}", "species": species, "kingdom": kingdom} for i, (species, kingdom) in enumerate(taxa)]
    with mapping_of(engine, records) as mapping:
        store_run(mapping, {record["key"]: "train" for record in records})
        planned, _ = plan_classes(mapping, "species")
    names = [planned[f"k{i}"][1] for i in range(4)]
    assert names == [f"{name} (Animalia) 2", f"{name} (Plantae) 2", f"{name} (Animalia)", f"{name} (Plantae)"]


@ENGINES
@pytest.mark.parametrize(
    ("unlabelled", "expected"),
    [
        ("leave-out", {"rose": "train", "poplar": "validation", "herb": "pretrain"}),
        ("keep", {"rose": "train", "poplar": "validation", "herb": "pretrain", "mint": "train", "which": "validation"}),
        ("pretrain", {"rose": "train", "poplar": "validation", "herb": "pretrain", "mint": "pretrain"}),
    ],
)
def test_records_without_a_class_go_where_they_are_asked_to(
    engine: str, unlabelled: str, expected: dict[str, str]
) -> None:
    splits = {"rose": "train", "poplar": "validation", "mint": "train", "which": "validation", "herb": "pretrain"}
    with mapping_of(engine, RAGGED) as mapping:
        store_run(mapping, splits)
        planned, classes = plan_classes(mapping, "species", unlabelled=unlabelled)
    assert {key: split for key, (split, _) in planned.items()} == expected
    assert classes == ["Populus alba", "Rosa alba"]  # the split for pre-training has no classes


SPELLINGS = {
    "Felis catus": ["felis_catus", "felis_catus", "FELIS CATUS", "Felis catus Linnaeus, 1758"],
    "Salix × fragilis": ["Salix x fragilis", "Salix × fragilis"],
    "Carex vötzi": ["Carex vötzi", "Carex vo\u0308tzi"],
    "Canis lupus": ["Canis lupus"],
    "Human virus 1": ["Human virus 1"],
    "Human virus 2": ["Human virus 2"],
    "": ["unidentified", "Anas sp."],
}


@ENGINES
def test_spellings_of_one_name_make_one_class_and_no_names_none(engine: str) -> None:
    written = [name for names in SPELLINGS.values() for name in names]
    homonyms = {"Animalia": "Aus bus", "Plantae": "aus_bus"}
    genus = {"felis_catus": "Felis"}  # a whole name in small letters, not an epithet
    records: list[Record] = [
        {"key": f"k{i}", "label": "any", "genus": genus.get(name), "species": name} for i, name in enumerate(written)
    ]
    records += [{"key": kingdom, "kingdom": kingdom, "species": name} for kingdom, name in homonyms.items()]
    with mapping_of(engine, records) as mapping:
        store_run(mapping, {record["key"]: "train" for record in records})
        planned, classes = plan_classes(mapping, "species", unlabelled="keep")
        reasons = mapping.rows("SELECT DISTINCT reason FROM planned WHERE class_name IS NULL")
        found = list_spellings(mapping)
        plan_classes(mapping, "label", unlabelled="keep", members=())
        assert list_spellings(mapping) == []
    merged = {
        name: {planned[f"k{i}"][1] for i, one in enumerate(written) if one in SPELLINGS[name]} for name in SPELLINGS
    }
    assert merged["Felis catus"] == {"felis_catus"}, "the spelling of most images"
    assert merged["Salix × fragilis"] == {"Salix × fragilis"}, "of equally many the normal form"
    assert all(len(names) == 1 for names in merged.values())
    assert merged[""] == {None}
    assert reasons == [("no_label",)]
    assert [name for name in classes if "us" in name and "virus" not in name] == [
        "Aus bus (Animalia)",
        "Aus bus (Plantae)",
        "Canis lupus",
        "felis_catus",
    ]
    assert found == [
        "Aus bus (1) = aus_bus (1)",
        "Carex vötzi (1) = Carex vo\u0308tzi (1)",
        "Salix × fragilis (1) = Salix x fragilis (1)",
        "felis_catus (2) = FELIS CATUS (1) = Felis catus Linnaeus, 1758 (1)",
        "Anas sp. (1) = no class",
        "unidentified (1) = no class",
    ]


def test_a_policy_for_unlabelled_records_needs_labels() -> None:
    with pytest.raises(UsageError, match="--unlabelled keep: needs labels"):
        WriteOptions(
            name="x", conversion=Conversion(size=None, resize="none"), members=("json",), label=None, unlabelled="keep"
        )


@pytest.fixture(scope="module")
def db(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a split mapping of the photos, in which Ara and Bos are one genus name and every seventh has no genus."""
    folder = tmp_path_factory.mktemp("ranks")
    with open(photos / "photos.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for number, row in enumerate(rows):
        row["file"] = str((photos / row["file"]).relative_to("/"))
        if row["genus"] in ("Ara", "Bos"):
            row["genus"] = "Arabos"
        elif number % 7 == 0:
            row["genus"] = row["species"] = ""
    with open(folder / "ragged.csv", "w", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    db = folder / "mapping.duckdb"
    source = f"photos=table:{folder / 'ragged.csv'}"
    run("map", "--db", db, "--source", source, "--option", "photos.root=/", "--workers", 0)
    with open_mapping(db, write=True) as mapping:
        mapping.execute(
            "UPDATE images SET genus = 'CORIS' WHERE key = (SELECT min(key) FROM images WHERE genus = 'Coris')"
        )
    run("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 20)
    return db


def write_by_genus(db: Path, out: Path, unlabelled: str) -> Outcome:
    done = write(db, out, "--label", "genus", "--unlabelled", unlabelled, "--size", 32)
    assert run("verify", out / "_info.json", "--level", "decode", "--db", db, "--workers", 0).stdout == ""
    return done


def test_homonyms_are_two_classes_and_said_so(db: Path, tmp_path: Path) -> None:
    done = write_by_genus(db, tmp_path / "out", "leave-out")
    classes = (tmp_path / "out" / "classes.txt").read_text().splitlines()
    assert [name for name in classes if name.startswith("Arabos")] == ["Arabos (Aves)", "Arabos (Mammalia)"]
    assert "2 classes share a name" in done.stderr
    assert "7 images have no label" in done.stderr
    assert "what is no name makes none; by usable images: Coris (" in done.stderr
    assert "CORIS" not in classes


def test_unlabelled_samples_of_a_mixed_dataset_have_no_cls(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_by_genus(db, out, "keep")
    missing = manifest(out)["shardforge"]["unlabelled"]
    assert sum(missing.values()) == 7
    for split, count in missing.items():
        index = pq.read_table(out / "index" / f"{split}.parquet")
        assert index["label"].null_count == index["cls_offset"].null_count == index["cls_size"].null_count == count
        assert index["json_offset"].null_count == 0
    tars = (part for path in out.glob("*/*.tar") for part in ("--shardlist", path))
    found = run("verify", *tars, "--workers", 0)
    assert found.stdout == ""
    assert found.stderr.startswith("Note: 7 of 45 samples have no .cls;")


def test_damage_in_a_mixed_dataset_is_named_and_mended(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_by_genus(db, out, "keep")
    before = shard_hashes(out)
    shard = out / next(iter(before))
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    found = run("verify", out / "_info.json", "--db", db, "--workers", 0, code=1)
    assert "member_bytes" in found.stderr
    run("verify", out / "_info.json", "--repair", "--workers", 0)
    assert shard_hashes(out) == before


def test_a_split_for_pre_training_has_no_classes_at_all(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = write_by_genus(db, out, "pretrain")
    splits = manifest(out)["splits"]
    assert manifest(out)["shardforge"]["unlabelled"] == {"pretrain": splits["pretrain"]["num_samples"]}
    assert "cls_size" not in pq.read_schema(out / "index" / "pretrain.parquet").names
    assert splits["train"]["num_samples"] + splits["validation"]["num_samples"] == 38
    left_out = 7 - splits["pretrain"]["num_samples"]
    assert f"{left_out} images have no label and are left out" in done.stderr


def test_a_labels_policy_changes_only_the_shards_that_it_changes(db: Path, tmp_path: Path) -> None:
    write_by_genus(db, tmp_path / "one", "leave-out")
    write_by_genus(db, tmp_path / "two", "pretrain")
    one, two = shard_hashes(tmp_path / "one"), shard_hashes(tmp_path / "two")
    assert [name.replace("two", "one") for name in two if "pretrain" not in name] == list(one)
    assert [digest for name, digest in two.items() if "pretrain" not in name] == list(one.values())


def test_every_rank_of_the_photos_can_be_the_class(db: Path) -> None:
    with open_mapping(db) as mapping:
        sizes = [len(plan_classes(mapping, rank)[1]) for rank in RANKS]
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
