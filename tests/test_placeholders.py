"""What says that there is no name, in whatever file, for Python, for columns and for SQL; and what only looks so."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import run
from test_splits import ENGINES, HALF, Record, mapping_of

from shardforge.loader.ranks import find_ranks
from shardforge.mapping import open_mapping
from shardforge.mapping.ranks import known_sql
from shardforge.records import RANKS
from shardforge.sources.ranks import normalise_ranks
from shardforge.splits.assign import assign_splits
from shardforge.splits.request import HoldOut
from shardforge.taxonomy.normalise import find_no_names, normalise_name, normalise_names
from shardforge.taxonomy.placeholders import is_no_name, judge_names, no_name_sql
from shardforge.taxonomy.taxon import make_taxon

TAXA = Path(__file__).resolve().parent.parent / "data" / "taxa.csv.gz"

#: Cells that name nothing at any rank.
NOTHING = [
    *(
        "unknown",
        "Unknown",
        "UNKNOWN",
        "unknown.",
        "(unknown)",
        "[Unknown]",
        "  unknown ",
        "\xa0unknown\xa0",
        "unknown?",
    ),
    *("not_classified", "Not classified", "not available", "not applicable", "Not Identified", "not sure"),
    *(
        "unidentified",
        "Unidentified bird",
        "unclassified",
        "unclassified Rosa",
        "Unclassified Rosaceae",
        "undetermined",
    ),
    *(
        "nan",
        "NaN",
        "NAN",
        "null",
        "NULL",
        "None",
        "none",
        "NA",
        "na",
        "N/A",
        "n/a",
        "N.A.",
        "n.a.",
        "#N/A",
        "n.d.",
        "ND",
    ),
    *("-", "--", "—", "?", "??", ".", "...", "*", "", " ", "_", "( )", "#", "/"),
    *("incertae sedis", "Incertae_sedis", "environmental sample", "environmental samples", "uncultured bacterium"),
    *(
        "indet.",
        "Indet",
        "undefined",
        "unassigned",
        "unnamed",
        "no name",
        "No_ID",
        "missing",
        "pleasehelp",
        "sp.",
        "spp.",
    ),
    *("unknown species", "Unknown_genus", "unspecified", "to be determined", "TBD", "species"),
]
#: Names that are some, however much they look like those above.
NAMES = {
    "Rosa nana": "Rosa nana",
    "Anas nullus": "Anas nullus",
    "Ipomoea nil": "Ipomoea nil",
    "Rosa na": "Rosa na",
    "Na bella": "Na bella",
    "Nan bella": "Nan bella",
    "Unknownia alba": "Unknownia alba",
    "Notonecta glauca": "Notonecta glauca",
    "Nonea lutea": "Nonea lutea",
    "Nulla incerta": "Nulla incerta",
    "Incerta sedisia": "Incerta sedisia",
    "Rosa unknowni": "Rosa unknowni",
    "Culex sp. BOLD:AAA1234": "Culex sp. BOLD:AAA1234",
    "Rosa sp. 1": "Rosa sp. 1",
    "Anas cf. crecca": "Anas cf. crecca",
    "Human virus 1": "Human virus 1",
    "Candidatus Pelagibacter": "Candidatus pelagibacter",
    "Rosa alba NA": "Rosa alba",
    "Rosa alba unknown": "Rosa alba",
    "Rosa alba subsp. indet.": "Rosa alba",
}


@pytest.mark.parametrize("cell", NOTHING)
def test_cells_that_say_nothing_are_no_names_anywhere(cell: str) -> None:
    assert is_no_name(cell)
    assert normalise_name(cell) == ""
    assert normalise_names(pa.array([cell])).to_pylist() == [None]
    for genus in ("Rosa", ""):
        taxon = make_taxon({"kingdom": "Plantae", "genus": genus, "species": cell})
        assert (taxon.genus, taxon.species, taxon.name) == (genus, "", genus or "Plantae")
        columns = {"genus": pa.array([genus or None]), "species": pa.array([cell])}
        found = normalise_ranks(columns, 1)
        assert (found["genus"].to_pylist(), found["species"].to_pylist()) == ([genus or None], [None])
    assert make_taxon(dict.fromkeys(RANKS, cell)).ranks == {}


@pytest.mark.parametrize(
    "word", ["unknown", "Unknown", "nan", "NaN", "null", "None", "NA", "N/A", "-", "--", "?", "indet."]
)
@pytest.mark.parametrize("join", ["Rosa {}", "Rosa_{}", "Rosa\xa0{}", "rosa {}", "Rosa x {}", "Rosa {} 3", "Rosa ({})"])
def test_a_genus_with_a_placeholder_is_no_species(join: str, word: str) -> None:
    name = join.format(word)
    if word == "?" and name != "Rosa ?":
        return  # doubt about what follows: an open name
    taxon = make_taxon({"genus": "Rosa", "species": name})
    assert (taxon.genus, taxon.species) == ("Rosa", "")
    found = normalise_ranks({"genus": pa.array(["Rosa"]), "species": pa.array([name])}, 1)
    assert found["species"].to_pylist() == [None]
    assert normalise_name(name) in ("", "Rosa")


@pytest.mark.parametrize(
    ("name", "genus"),
    [
        ("Anas sp.", "Anas"),
        ("Anas spp.", "Anas"),
        ("Anas sp. nov.", "Anas"),
        ("Anas cf.", "Anas"),
        ("Quercus L.", "Quercus"),
    ],
)
def test_a_name_that_says_no_more_than_its_genus_is_that_genus(name: str, genus: str) -> None:
    assert (make_taxon({"species": name}).genus, make_taxon({"species": name}).species) == (genus, "")
    found = normalise_ranks({"species": pa.array([name])}, 1)
    assert (found["genus"].to_pylist(), found["species"].to_pylist()) == ([genus], [None])
    assert make_taxon({"species": "Rosaceae sp."}).ranks == {}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_look_like_placeholders_survive(name: str) -> None:
    assert normalise_name(name) == NAMES[name]
    assert normalise_names(pa.array([name])).to_pylist() == [NAMES[name]]
    assert make_taxon({"species": name}).species == NAMES[name]
    genus, _, epithet = name.partition(" ")
    assert not is_no_name(name, species=True)
    if epithet.islower() and "." not in name and epithet != "na":  # as a whole cell, that says that there is none
        assert make_taxon({"genus": genus, "species": epithet}).species == NAMES[name]


def test_genera_that_are_written_as_missing_values_survive() -> None:
    assert [make_taxon({"genus": genus, "species": "bella"}).species for genus in ("Na", "Nan")] == [
        "Na bella",
        "Nan bella",
    ]
    assert [make_taxon({"genus": genus}).genus for genus in ("Na", "Nan", "NA", "NaN", "nan")] == [
        "Na",
        "Nan",
        "",
        "",
        "",
    ]
    assert [make_taxon({"genus": "Rosa", "species": cell}).species for cell in ("Na", "Nan", "na")] == ["", "", ""]


def test_no_real_taxon_is_lost() -> None:
    with gzip.open(TAXA, "rt", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 13_231
    for rank in ("name", *RANKS):
        names = sorted({row[rank] for row in rows} - {""})
        assert [name for name in names if not normalise_name(name)] == []
        assert not any(find_no_names(pa.array(names), species=rank in ("name", "species")).to_pylist())
    assert [row["species"] for row in rows if row["species"] and not make_taxon(row).species] == []


_WORDS = [
    "Rosa",
    "alba",
    "unknown",
    "Unknown",
    "nan",
    "NA",
    "na",
    "Na",
    "Nan",
    "sp.",
    "cf.",
    "-",
    "?",
    "1",
    "×",
    "x",
    "not",
]
_WORDS += [
    "classified",
    "incertae",
    "L.",
    "Rosaceae",
    "n/a",
    "species",
    "none",
    "_",
    "\xa0",
    "BOLD:A1",
    "(unknown)",
    ".",
    "'",
]
CELLS = st.none() | st.lists(st.sampled_from(_WORDS), max_size=4).flatmap(
    lambda w: st.sampled_from(" _").map(lambda s: s.join(w))
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20))
def test_python_columns_and_sql_agree(rows: list[tuple[str | None, str | None]]) -> None:
    genus, species = (pa.array(cells, pa.string()) for cells in zip(*rows, strict=True))
    found = normalise_ranks({"genus": genus, "species": species}, len(rows))
    taxa = [make_taxon({"genus": one, "species": other}) for one, other in rows]
    assert found["genus"].to_pylist() == [taxon.genus or None for taxon in taxa]
    assert found["species"].to_pylist() == [taxon.species or None for taxon in taxa]
    cells = species.to_pylist()
    for of_species in (False, True):
        wanted = [None if cell is None else is_no_name(cell, species=of_species) for cell in cells]
        assert judge_names(species, partial(is_no_name, species=of_species)).to_pylist() == wanted
        values = ", ".join(f"({i}, CAST(? AS VARCHAR))" for i in range(len(cells)))
        statement = (
            f"WITH t (i, x) AS (VALUES {values}) SELECT {no_name_sql('x', species=of_species)} FROM t ORDER BY i"
        )
        for engine in (duckdb, sqlite3):
            with engine.connect(":memory:") as connection:
                answers = [answer for (answer,) in connection.execute(statement, cells).fetchall()]
            assert [None if answer is None else bool(answer) for answer in answers] == wanted


def test_every_cell_is_judged_alike_by_sql() -> None:
    cells = [*NOTHING, *NAMES, "Na", "Nan"]
    with sqlite3.connect(":memory:") as connection, duckdb.connect() as other:
        for engine in (connection, other):
            for cell in cells:
                engine.execute("DROP TABLE IF EXISTS images")
                engine.execute("CREATE TABLE images (genus VARCHAR, species VARCHAR, label VARCHAR)")
                engine.execute("INSERT INTO images VALUES (?, ?, ?)", [cell, cell, cell])
                columns = ", ".join(map(known_sql, ("genus", "species", "label")))
                [known] = engine.execute(f"SELECT {columns} FROM images").fetchall()
                assert [name is None for name in known] == [
                    is_no_name(cell),
                    is_no_name(cell, species=True),
                    cell == "",  # no rank: never judged
                ]


WORDS = [
    "unknown",
    "not_classified",
    "nan",
    "null",
    "NA",
    "-",
    "?",
    "Rosa",
    "Rosa unknown",
    "Rosa NA",
    "unclassified Rosa",
]


@pytest.mark.parametrize("suffix", ["duckdb", "sqlite"])
def test_placeholders_make_no_class_and_are_told(suffix: str, image_tree: Path, tmp_path: Path) -> None:
    images = sorted(image_tree.rglob("*.jpg"))
    cells = ["alba", "Rosa alba", *WORDS]
    rows = []
    for number, cell in enumerate(cells):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(images[number % len(images)].read_bytes() + bytes([number]))
        rows.append(f"{path.name},Plantae,Rosa,{cell},{cell}")
    (tmp_path / "t.csv").write_text("path,kingdom,genus,species,label\n" + "\n".join(rows) + "\n")
    db, out = tmp_path / f"m.{suffix}", tmp_path / "out"
    done = run("map", "--db", db, "--source", f"a=table:{tmp_path}/t.csv", "--workers", 0)
    assert "cells at ranks that say that there is no name: 10, such as" in done.stderr
    with open_mapping(db) as mapping:
        assert Counter(mapping.rows("SELECT genus, species FROM images")) == {
            ("Rosa", None): 10,
            ("Rosa", "alba"): 1,
            ("Rosa", "Rosa alba"): 1,
            ("Rosa", "Rosa"): 1,
        }
        assert len(mapping.rows("SELECT DISTINCT label FROM images")) == len(cells)  # labels are not judged
    run("split", "--db", db, "--seed", 1, "--val-split", 40, "--rule", "exact")
    for label, classes in (("species", ["Rosa alba"]), ("genus", ["Rosa"])):
        run("write", "--db", db, "--out", out / label, "--label", label, "--size", 32, "--workers", 0)
        assert (out / label / "classes.txt").read_text().splitlines() == classes
    assert run("map", "--db", db, "--workers", 0, "--json").stdout.count('"unchanged": 13') == 1


@ENGINES
def test_a_mapping_of_before_holds_out_groups_and_classes_no_placeholder(engine: str) -> None:
    """Names that were mapped as they stood, before any were dropped."""
    records: list[Record] = [
        {"key": f"k{i}", "content_hash": f"h{i}", "genus": "Rosa", "species": word} for i, word in enumerate(WORDS)
    ]
    records += [{"key": f"n{i}", "content_hash": f"g{i}", "genus": "Aus", "species": f"bus{i}"} for i in range(20)]
    records += [{"key": f"u{i}", "content_hash": f"u{i}", "genus": "unknown", "species": "unknown"} for i in range(20)]
    with mapping_of(engine, records) as mapping:
        asked = HoldOut(rank="species", share=HALF["validation"], keys=HALF["validation"] * 0)
        report = assign_splits(mapping, seed=1, shares=HALF, rule="exact", hold_out=asked)
        assert report.held_out is not None
        assert report.held_out.taxa == 20
        splits = dict(mapping.rows("SELECT key, split FROM splits"))
        assert {split for key, split in splits.items() if key[0] in "ku"} == {"pretrain"}
        assign_splits(mapping, seed=1, shares=HALF, group_by="genus", name="grouped")
        groups = mapping.rows("SELECT DISTINCT group_id FROM splits WHERE name = 'grouped' AND key LIKE 'u%'")
        assert len(groups) == 20  # each its own, not one group of what nobody knows


def test_the_loader_takes_no_placeholder_for_a_class_of_a_rank() -> None:
    said: list[Any] = [{"genus": "Rosa"}, {"genus": "unknown"}, {"genus": "Ara"}, json.loads('{"genus": null}')]
    assert find_ranks(pa.array(range(4)).to_numpy().astype("int32"), "genus", said.__getitem__) == [
        "Rosa",
        "",
        "Ara",
        "",
    ]
