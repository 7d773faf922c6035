from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pipeline import run

from shardforge.mapping import open_mapping

TAXA = Path(__file__).resolve().parent.parent / "data" / "taxa.csv.gz"

LIST = """\
path,kingdom,family,genus,species,common_name,note
0.jpg,Metazoa,,,Himantopus leucocephalus,,kept
1.jpg,,,,Anas platyrhynchos Linnaeus,green head,
2.jpg,,,Iris,,,
3.jpg,Plantae,,Iris,,,
4.jpg,,,Anas,Anas nix,,
5.jpg,,,,Nomen nescio,,
6.jpg,,,,,,
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDFORGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def listed(image_tree: Path, tmp_path: Path) -> Path:
    """Return a table that describes seven images."""
    images = sorted(image_tree.rglob("*.jpg"))
    for number in range(7):
        (tmp_path / f"{number}.jpg").write_bytes(images[number].read_bytes())
    (tmp_path / "list.csv").write_text(LIST, encoding="utf-8")
    return tmp_path / "list.csv"


def map_names(db: Path, listed: Path, *options: object) -> dict[str, Any]:
    """Map the table and return the result."""
    source = () if not listed else ("--source", f"a=table:{listed}")
    return json.loads(run("map", "--db", db, *source, "--workers", 0, "--json", *options).stdout)


def select(db: Path, columns: str) -> list[tuple[Any, ...]]:
    with open_mapping(db) as mapping:
        return mapping.rows(f"SELECT {columns} FROM images ORDER BY path")


@pytest.mark.parametrize("suffix", ["duckdb", "sqlite"])
def test_names_fill_ranks_and_common_names(listed: Path, tmp_path: Path, suffix: str) -> None:
    db = tmp_path / f"m.{suffix}"
    result = map_names(db, listed, "--names", f"table:{TAXA}")
    assert select(db, "kingdom, family, genus, species, common_name") == [
        ("Animalia", "Recurvirostridae", "Himantopus", "Himantopus himantopus", "black-winged stilt"),
        ("Animalia", "Anatidae", "Anas", "Anas platyrhynchos", "green head"),
        (None, None, "Iris", None, None),
        ("Plantae", "Iridaceae", "Iris", None, None),
        ("Animalia", "Anatidae", "Anas", "Anas nix", None),
        (None, None, None, "Nomen nescio", None),
        (None, None, None, None, None),
    ]
    found = result["names"]["a"]
    assert found["images"] == {
        "resolved": 2,
        "synonym": 1,
        "placed": 1,
        "ambiguous": 1,
        "contradicted": 0,
        "unknown": 1,
        "unnamed": 1,
    }
    assert found["names"]["synonym"] == {"Himantopus leucocephalus = Himantopus himantopus": 1}
    assert (found["names"]["ambiguous"], found["names"]["unknown"]) == ({"Iris": 1}, {"Nomen nescio": 1})
    assert found["common_names"] == 1


def test_replaced_names_are_kept_in_metadata(listed: Path, tmp_path: Path) -> None:
    map_names(tmp_path / "m.duckdb", listed, "--names", f"table:{TAXA}")
    metadata = [text and json.loads(text) for (text,) in select(tmp_path / "m.duckdb", "metadata")]
    assert metadata == [
        {"note": "kept", "given": {"kingdom": "Metazoa", "species": "Himantopus leucocephalus"}},
        {"given": {"species": "Anas platyrhynchos Linnaeus"}},
        *(None, None, None, None, None),
    ]


@pytest.mark.parametrize("suffix", ["duckdb", "sqlite"])
def test_names_are_remembered_and_a_second_run_changes_nothing(listed: Path, tmp_path: Path, suffix: str) -> None:
    db = tmp_path / f"m.{suffix}"
    map_names(db, listed)
    result = map_names(db, listed, "--names", f"table:{TAXA}")
    assert (result["sources"]["a"]["described"], result["sources"]["a"]["unchanged"]) == (4, 3)
    before = select(db, "*")
    result = json.loads(run("map", "--db", db, "--workers", 0, "--json").stdout)
    assert (result["sources"]["a"]["unchanged"], result["names"]["a"]["images"]["resolved"]) == (7, 2)
    assert select(db, "*") == before
    result = map_names(db, listed, "--names", "none")
    assert (result["sources"]["a"]["described"], result["names"]) == (4, {})
    assert json.loads(run("map", "--db", db, "--workers", 0, "--json").stdout)["names"] == {}


def test_a_changed_file_of_names_renews_what_it_describes(listed: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.csv"
    names.write_text("name,kingdom,family\nNomen nescio,Animalia,Aidae\n")
    map_names(tmp_path / "m.duckdb", listed, "--names", f"table:{names}")
    names.write_text("name,kingdom,family\nNomen nescio,Animalia,Bidae\n")
    os.utime(names, ns=(1, 1))
    result = map_names(tmp_path / "m.duckdb", listed)
    assert result["sources"]["a"]["described"] == 1
    assert select(tmp_path / "m.duckdb", "family")[5] == ("Bidae",)


def test_labels_are_names_where_asked(image_tree: Path, tmp_path: Path) -> None:
    (image_tree / "birds").rename(image_tree / "Anas_platyrhynchos")
    db, source = tmp_path / "m.duckdb", f"a=folder:{image_tree}"
    run("map", "--db", db, "--source", source, "--workers", 0, "--names", f"table:{TAXA}")
    assert {row[0] for row in select(db, "family")} == {None}
    outcome = run("map", "--db", db, "--workers", 0, "--names", f"table:{TAXA}", "--label-is-name")
    assert {(row[0], row[1]) for row in select(db, "label, family") if row[1]} == {("Anas_platyrhynchos", "Anatidae")}
    assert "unknown" in outcome.stdout
    assert "Fish; Mammals" in outcome.stdout
    assert "a: 4 images got a common name" in outcome.stderr


def test_a_dry_run_reports_names_and_stores_nothing(listed: Path, tmp_path: Path) -> None:
    result = map_names(tmp_path / "m.duckdb", listed, "--names", f"table:{TAXA}", "--dry-run")
    assert result["names"]["a"]["images"]["resolved"] == 2
    assert not (tmp_path / "m.duckdb").exists()


def test_options_of_names_need_a_file(listed: Path, tmp_path: Path) -> None:
    outcome = run("map", "--db", tmp_path / "m.db", "--source", f"a=table:{listed}", "--language", "de", code=2)
    assert "--language and --label-is-name need --names" in outcome.stderr
