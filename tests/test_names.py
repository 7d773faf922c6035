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
    assert (found["common_names"], found["kept_common_names"]) == (1, 1)


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


def test_files_of_names_may_change_while_language_and_labels_stay(image_tree: Path, tmp_path: Path) -> None:
    text = "name,kingdom,common,language\nBirds,{},Vögel,de\nBirds,{},birds,en\n"
    for number, kingdom in enumerate(("Aia", "Bia")):
        (tmp_path / f"{number}.csv").write_text(text.format(kingdom, kingdom), encoding="utf-8")
    db = tmp_path / "m.duckdb"
    asked = ("map", "--db", db, "--workers", 0, "--names")
    source = ("--source", f"a=folder:{image_tree}", "--language", "de", "--label-is-name")
    run(*asked, f"table:{tmp_path / '0.csv'}", *source)
    assert set(select(db, "label, kingdom, common_name")) >= {("birds", "Aia", "Vögel")}
    run(*asked, f"table:{tmp_path / '1.csv'}")
    assert set(select(db, "label, kingdom, common_name")) >= {("birds", "Bia", "Vögel")}
    run(*asked, f"table:{tmp_path / '1.csv'}", "--language", "en", "--no-label-is-name")
    assert set(select(db, "kingdom, common_name")) == {(None, None)}
    run(*asked, f"table:{tmp_path / '1.csv'}", "--label-is-name")
    assert set(select(db, "label, kingdom, common_name")) >= {("birds", "Bia", "birds")}


def test_files_without_ranks_are_reported_without_a_table(listed: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.csv"
    names.write_text("species,common_name\nAnas platyrhynchos,mallard\nNomen nescio,nobody\n")
    outcome = run("map", "--db", tmp_path / "m.db", "--source", f"a=table:{listed}", "--names", f"table:{names}")
    assert len(outcome.stdout.splitlines()) == 2
    assert "a: 1 image got a common name; 1 keep that of the source, in whatever language" in outcome.stderr
    assert "have no ranks above their names, so they give common names only" in outcome.stderr


def test_images_without_a_name_to_look_up_are_told_what_to_do(image_tree: Path, tmp_path: Path) -> None:
    asked = ("map", "--db", tmp_path / "m.db", "--source", f"a=folder:{image_tree}", "--workers", 0)
    assert "no image has a name to look up" in run(*asked, "--names", f"table:{TAXA}").stderr
    assert "no image has" not in run(*asked, "--names", f"table:{TAXA}", "--label-is-name").stderr


def test_the_report_of_names_fits_a_terminal(tmp_path: Path, image_tree: Path) -> None:
    for folder in list(image_tree.iterdir()):
        folder.rename(folder.with_name(f"Nomen_{folder.name}_nescio_longissimum"))
    source = ("--source", f"a=folder:{image_tree}", "--label-is-name", "--names", f"table:{TAXA}")
    lines = run("map", "--db", tmp_path / "m.db", "--workers", 0, *source).stdout.splitlines()
    assert max(map(len, lines)) == 100
    assert next(line for line in lines if line.startswith("unknown")).endswith("…")


def test_a_dry_run_reports_names_and_stores_nothing(listed: Path, tmp_path: Path) -> None:
    result = map_names(tmp_path / "m.duckdb", listed, "--names", f"table:{TAXA}", "--dry-run")
    assert result["names"]["a"]["images"]["resolved"] == 2
    assert not (tmp_path / "m.duckdb").exists()


def test_options_of_names_need_a_file(listed: Path, tmp_path: Path) -> None:
    outcome = run("map", "--db", tmp_path / "m.db", "--source", f"a=table:{listed}", "--language", "de", code=2)
    assert "--language and --label-is-name need --names" in outcome.stderr


def test_none_stands_alone(listed: Path, tmp_path: Path) -> None:
    for names in (("none", f"table:{TAXA}"), (f"table:{TAXA}", "none")):
        options = [text for name in names for text in ("--names", name)]
        refused = run("map", "--db", tmp_path / "m.duckdb", "--source", f"a=table:{listed}", *options, code=2)
        assert "--names none: forgets the files of names, so it must stand alone" in refused.stderr


def test_what_is_no_language_is_refused(listed: Path, tmp_path: Path) -> None:
    options = ("--source", f"a=table:{listed}", "--names", f"table:{TAXA}", "--language", "klingon")
    outcome = run("map", "--db", tmp_path / "m.db", *options, code=2)
    assert "--language klingon: no such language" in outcome.stderr
    assert not (tmp_path / "m.db").exists()
