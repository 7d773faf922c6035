"""Statistics: what the statements count, in both engines, of all that is mapped and of one dataset."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from PIL import Image
from pipeline import prepare, run, write

from shardforge.catalog.licences import recognise_licence
from shardforge.catalog.statistics import OF_IMAGES, OF_MAPPING, Statistics, collect_statistics, roll_up_licences
from shardforge.mapping import open_mapping
from shardforge.queries import load_query

#: The statements that README names as made for people.
FAMILIES = ("check", "count", "leakage", "list", "measure")
SQL = Path(__file__).resolve().parent.parent / "sql"
BY_HAND = sorted(path.stem for family in FAMILIES for path in SQL.glob(f"{family}_*.sql"))

ANIMAL = ("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Oenanthe")
PLANT = ("Plantae", "Tracheophyta", "Magnoliopsida", "Apiales", "Apiaceae", "Oenanthe")

#: seven ranks (the fourth image has no order), width, height, orientation, licence, reason
RECORDS = [
    (*ANIMAL, "Oenanthe oenanthe", 100, 50, 1, "CC BY 4.0", None),
    (*ANIMAL, "Oenanthe oenanthe", 100, 50, 6, "cc-by-4.0", None),
    (*PLANT, "crocata", 300, 300, 1, "CC0", None),
    ("Animalia", "Chordata", "Aves", None, "Sittidae", None, None, 500, 400, 1, "GFDL", None),
    (None, None, None, None, None, None, None, 5000, 4500, 1, None, None),
    (*ANIMAL, "Oenanthe deserti", 10, 10, 1, "CC0", "truncated"),
]
COLUMNS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
COLUMNS += ("width", "height", "orientation", "license", "reason")


@pytest.fixture(params=["duckdb", "sqlite"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"mapping.{request.param}"
    keys = [f"k{number}" for number in range(len(RECORDS))]
    rows = pa.table(
        {
            "key": keys,
            "source": ["s"] * len(keys),
            "path": keys,
            "format": ["jpeg"] * len(keys),
            **dict(zip(COLUMNS, map(list, zip(*RECORDS, strict=True)), strict=True)),
        }
    )
    with open_mapping(path, write=True, create=True) as mapping:
        mapping.execute(
            "INSERT INTO sources (name, kind, root, options, scanned_at, tool_version) "
            "VALUES ('s', 'folder', '/r', '{}', 'now', '1')"
        )
        mapping.insert("images", rows)
    return path


def collect(db: Path) -> Statistics:
    with open_mapping(db) as mapping:
        return collect_statistics(mapping, {**OF_IMAGES, **OF_MAPPING})


def by(rows: list[dict], name: str, column: str) -> dict:
    return {row[name]: row[column] for row in rows}


def test_ranks_count_taxa_gaps_and_the_lowest_known_rank(db: Path) -> None:
    found = collect(db)
    assert by(found["ranks"], "rank", "images") == {
        "kingdom": 4,
        "phylum": 4,
        "class": 4,
        "order": 3,
        "family": 4,
        "genus": 3,
        "species": 3,
        "none": 0,
    }
    taxa = by(found["ranks"], "rank", "taxa")
    assert (taxa["genus"], taxa["species"]) == (2, 2), "a homonym in two kingdoms is two genera"
    assert by(found["ranks"], "rank", "lowest_known") == {
        "kingdom": 0,
        "phylum": 0,
        "class": 0,
        "order": 0,
        "family": 1,
        "genus": 0,
        "species": 3,
        "none": 1,
    }
    assert by(found["ranks"], "rank", "gaps")["order"] == 1
    assert found["rank_gaps"] == [{"missing": "order", "images": 1, "lineages": 1, "example": "Sittidae"}]
    kingdoms = by(found["kingdoms"], "kingdom", "images")
    assert kingdoms == {"Animalia": 3, "Plantae": 1, None: 1}


def test_sizes_are_those_of_upright_images(db: Path) -> None:
    found = collect(db)
    shapes = {"1:2 to 3:4": 1, "square": 1, "square to 4:3": 2, "4:3 to 2:1": 1}
    assert by(found["aspects"], "aspect", "images") == shapes
    sides = {"below 64": 2, "256 to 383": 1, "384 to 511": 1, "4096 or more": 1}
    assert by(found["shorter_sides"], "shorter_side", "images") == sides


def test_long_tail_of_known_class_sizes(db: Path) -> None:
    labels = [name for name, size in {"a": 1, "b": 1, "c": 2, "d": 6}.items() for _ in range(size)]
    rows = {"key": labels, "source": ["s"] * 10, "path": labels, "label": labels}
    with open_mapping(db, write=True) as mapping:
        mapping.execute("DELETE FROM images")
        mapping.insert("images", pa.table(rows))
    found = collect(db)
    [balance] = found["balance"]
    assert {name: balance[name] for name in ("classes", "images", "smallest", "median", "largest", "gini")} == {
        "classes": 4,
        "images": 10,
        "smallest": 1,
        "median": 1,
        "largest": 6,
        "gini": 0.4,
    }
    assert (balance["percent_below_5"], balance["percent_in_largest_tenth"]) == (75.0, 60.0)
    assert by(found["class_sizes"], "class_size", "percent_up_to_here") == {"1": 50.0, "2 to 4": 75.0, "5 to 9": 100.0}


@pytest.mark.parametrize("statement", BY_HAND)
def test_statements_run_by_hand(statement: str, db: Path) -> None:
    with open_mapping(db, write=True) as mapping:
        mapping.execute(mapping.query("create_duplicates"))  # as `shardforge duplicates` does
    connect = duckdb.connect if db.suffix == ".duckdb" else sqlite3.connect
    connection = connect(str(db))
    connection.execute(load_query(statement)).fetchall()
    connection.close()


def test_a_mapping_without_images_has_figures(db: Path) -> None:
    with open_mapping(db, write=True) as mapping:
        mapping.execute("DELETE FROM images")
    assert run("stats", "--db", db).stdout.startswith(f"{db}: 0 images, 0 of them usable\n")


def test_licences_merge_by_meaning(db: Path) -> None:
    found = collect(db)["licences"]
    assert [(row["licence"], row["images"], row["commercial"]) for row in found] == [
        ("CC BY 4.0", 2, True),
        ("CC0 1.0", 1, True),
        (None, 1, None),
        (None, 1, None),
    ]
    assert sorted(found[0]["as_given"]) == ["CC BY 4.0", "cc-by-4.0"]
    assert found[0]["without_author"] == 2
    assert [row["as_given"] for row in found[2:]] == [[], ["GFDL"]]


def test_many_unknown_licences_are_counted_together() -> None:
    rows = [{"license": f"terms {number}", "images": 2, "without_author": 0} for number in range(150)]
    counted = roll_up_licences(rows)
    assert len(counted) == 101
    assert counted[0]["images"] == 100
    assert sum(row["images"] for row in counted) == 300


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CC BY-NC 4.0", "CC BY-NC 4.0"),
        ("cc_by_nc_4_0", "CC BY-NC 4.0"),
        ("http://creativecommons.org/licenses/by-nc/4.0/", "CC BY-NC 4.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/deed.en", "CC BY-NC 4.0"),
        ("Attribution-NonCommercial 4.0 International", "CC BY-NC 4.0"),
        ("cc-by-nc", "CC BY-NC"),
        ("(c) J. Doe, some rights reserved (CC BY-NC)", "CC BY-NC"),
        ("CreativeCommons – Attribution Non-Commercial Share-Alike", "CC BY-NC-SA"),
        ("Attribution-NoDerivs License", "CC BY-ND"),
        ("CC BY-SA 3.0 DE", "CC BY-SA 3.0"),
        ("CC0", "CC0 1.0"),
        ("CC0_1_0", "CC0 1.0"),
        ("cc-0", "CC0 1.0"),
        ("cc-0-1.0", "CC0 1.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0 1.0"),
        ("Public Domain", "Public domain"),
        ("Public Domain Mark 1.0", "Public Domain Mark 1.0"),
        ("© All rights reserved", "All rights reserved"),
        ("CC BY 4.0 except the plates", None),
        ("CC BY 4.0 or CC BY 3.0", None),
        ("CC BY-SA-ND", None),
        ("MIT", None),
        ("cc", None),
        ("", None),
        (None, None),
    ],
)
def test_spellings_of_licences(text: str | None, name: str | None) -> None:
    licence = recognise_licence(text)
    assert (licence and licence.name) == name


def test_what_a_licence_allows() -> None:
    licence = recognise_licence("cc-by-nc-nd-4.0")
    assert licence is not None
    assert (licence.redistribution, licence.commercial, licence.derivatives, licence.attribution) == (
        True,
        False,
        False,
        True,
    )
    assert licence.url == "https://creativecommons.org/licenses/by-nc-nd/4.0/"


def test_command_prints_tables_that_fit_a_terminal(photos: Path, tmp_path: Path) -> None:
    db = prepare(tmp_path, f"{'long_name_' * 6}=table:{photos / 'photos.csv'}")
    plot = tmp_path / "plot.png"
    (tmp_path / "rare.txt").write_text("Bos taurus\n")
    run("split", "--db", db, "--seed", 17, "--val-split", 20, "--exclude", tmp_path / "rare.txt")
    printed = run("stats", "--db", db, "--plot", plot).stdout
    assert max(map(len, printed.splitlines()[1:])) <= 100
    assert "Public domain      38     84.4  yes" in printed
    assert "missing  images  lineages  example\norder         2         2" in printed
    assert "Excluded\nlist  reason  images\nrare               1" in printed
    with Image.open(plot) as picture:
        assert picture.format == "PNG"
        assert len(set(picture.convert("L").histogram())) > 10, "something is drawn"


def test_dataset_option_counts_what_the_dataset_holds(image_tree: Path, tmp_path: Path) -> None:
    db = prepare(tmp_path, f"images=folder:{image_tree}", "--rule", "exact", "--val-split", 25)
    out = tmp_path / "it's out"
    write(db, out, "--splits", "validation", "--name", "held")
    for asked in ("held", out):
        found = json.loads(run("stats", "--db", db, "--dataset", asked, "--json").stdout)
        assert by(found["sources"], "source", "images") == {"images": 3}
        assert by(found["datasets"], "split", "samples") == {"validation": 3}
        assert by(found["outcomes"], "reason", "images") == {"ok": 3, "other_split": 9}
    assert "no such dataset" in run("stats", "--db", db, "--dataset", "other", code=2).stderr


@pytest.mark.parametrize("suffix", ["duckdb", "sqlite"])
def test_classes_of_a_dataset_are_those_that_it_was_written_with(suffix: str, photos: Path, tmp_path: Path) -> None:
    db = tmp_path / f"mapping.{suffix}"
    run("map", "--db", db, "--source", f"photos=table:{photos / 'photos.csv'}", "--workers", 0)
    with open_mapping(db, write=True) as mapping:  # a homonym is two classes
        mapping.execute("UPDATE images SET genus = 'Bos', kingdom = 'Plantae' WHERE species = 'Felis catus'")
    run("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 20)
    out = tmp_path / "shards"
    write(db, out, "--label", "genus")
    classes = (out / "classes.txt").read_text().splitlines()
    assert "Bos (Plantae)" in classes
    found = json.loads(run("stats", "--db", db, "--dataset", out, "--json").stdout)
    assert found["balance"][0]["classes"] == sum(row["classes"] for row in found["class_sizes"]) == len(classes)
    assert by(found["sources"], "source", "labels") == {"photos": len(classes)}


def test_split_run_option(image_tree: Path, tmp_path: Path) -> None:
    db = prepare(tmp_path, f"images=folder:{image_tree}", "--rule", "exact", "--val-split", 25)
    run("split", "--db", db, "--seed", 1, "--name", "other", "--rule", "exact", "--val-split", 50)
    found = json.loads(run("stats", "--db", db, "--split-run", "other", "--json").stdout)
    assert by(found["splits"], "split", "images") == {"train": 6, "validation": 6}
    assert "no split run called nope" in run("stats", "--db", db, "--split-run", "nope", code=2).stderr


def test_documentation_shows_real_output(photos: Path, tmp_path: Path) -> None:
    page = (photos.parent.parent / "docs" / "statistics.md").read_text(encoding="utf-8")
    block = page.partition("<!-- stats -->\n")[2].partition("<!-- /stats -->")[0]
    _, shown = "\n".join(line.removeprefix("    ") for line in block.splitlines()).split("\n", 1)
    db = prepare(tmp_path, f"photos=table:{photos / 'photos.csv'}", "--val-split", 20)
    printed = run("stats", "--db", db).stdout.strip("\n").split("\n\n")
    assert [table for table in shown.split("\n\n") if table not in printed] == []
