"""The kinds inat21, eol and bioscan on faithful small trees: what they list, and a reason for what they cannot use."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from biology import (
    HARD,
    Laid,
    bioscan_picture,
    eol_taxa,
    make_bioscan,
    make_eol,
    make_inat21,
    pick_taxa,
    picture,
    ranks_of,
    write_hdf5,
    write_hierarchy,
    write_table,
    write_tar,
)
from pipeline import run
from test_sources import list_all, reasons_of

from shardforge.errors import ImageError, SourceError, UsageError
from shardforge.mapping import open_mapping
from shardforge.records import RANKS
from shardforge.sources import parse_source
from shardforge.sources.ranks import normalise_ranks
from shardforge.sources.reading import read_record
from shardforge.taxonomy.taxon import make_taxon

EOL_TABLES = {"names": "../taxon.tab,../provider_ids.csv", "licenses": "../media_manifest_*.csv"}
METADATA = {"1M": "metadata.tsv", "5M": "metadata.csv"}


def check(rows: Sequence[dict[str, Any]], laid: Sequence[Laid], *columns: str) -> None:
    """Demand that a source lists what was laid out, once each: path, label, ranks, reason, and these columns."""
    names = ("path", "label", *RANKS, "reason", *columns)
    found, wanted = (
        sorted((tuple(row[name] for name in names) for row in listed), key=str)
        for listed in (rows, [image.as_row() for image in laid])
    )
    assert found == wanted


def read_all(root: Path, rows: Sequence[dict[str, Any]]) -> list[bytes]:
    """Return the bytes of every record that has no reason."""
    usable = [row for row in rows if row["reason"] is None]
    return [read_record(str(root), row["path"], row["offset"], row["bytes"], row["mtime"]) for row in usable]


def list_twice(text: str, **options: str) -> list[dict[str, Any]]:
    """Return the records of a source, and demand that another listing gives the same in the same order."""
    rows = list_all(text, **options)
    assert rows == list_all(text, **options)
    return rows


# inat21


def test_inat21_class_folders_spell_out_the_ranks(tmp_path: Path, photos: Path) -> None:
    laid = make_inat21(tmp_path, photos)
    rows = list_twice(f"a=inat21:{tmp_path}")
    check(rows, laid)
    [hybrid] = {row["label"] for row in rows if "×" in row["path"]}
    assert hybrid == "Salix × fragilis"
    assert json.loads(rows[0]["metadata"]) == {"category_id": 0, "tree": "train"}
    assert "train.json" not in {row["path"] for row in rows}


def test_inat21_one_tree_is_a_root_of_its_own(tmp_path: Path, photos: Path) -> None:
    laid = make_inat21(tmp_path, photos)
    only_train = [image for image in laid if image.path.startswith("train/")]
    rows = list_all(f"a=inat21:{tmp_path}/train")
    assert [f"train/{row['path']}" for row in rows] == sorted(image.path for image in only_train)
    check(list_all(f"a=inat21:{tmp_path}", trees="train"), only_train)


def test_inat21_a_tree_may_be_a_tar_beside_another(tmp_path: Path, photos: Path) -> None:
    laid = make_inat21(tmp_path, photos)
    folder = tmp_path / "train"
    write_tar(
        tmp_path / "train.tar", {str(path.relative_to(tmp_path)): path.read_bytes() for path in folder.rglob("*.jpg")}
    )
    alone = list_all(f"a=inat21:{tmp_path}/train.tar")
    shutil.rmtree(folder)
    rows = list_all(f"a=inat21:{tmp_path}")
    packed = [replace(image, path=image.path.replace("train/", "train.tar::train/")) for image in laid]
    check(rows, packed)
    assert [row for row in rows if "::" in row["path"]] == alone
    assert len(read_all(tmp_path, rows)) == len(laid) - 1


def test_inat21_annotations_beside_the_folders_add_names_and_licences(tmp_path: Path, photos: Path) -> None:
    laid = make_inat21(tmp_path, photos)
    rows = list_twice(f"a=inat21:{tmp_path}", annotations="train.json,val.json")
    check(rows, laid, "common_name", "license")
    assert {row["author"] for row in rows} == {"Zoë Østergård", "A. Observer", None}
    metadata = json.loads(rows[1]["metadata"])
    assert (metadata["image_id"], metadata["latitude"], metadata["supercategory"]) == (1, 43.6, rows[1]["class"])
    assert "latitude" not in json.loads(rows[0]["metadata"])


def test_inat21_annotations_alone_list_their_images(tmp_path: Path, photos: Path) -> None:
    laid = [image for image in make_inat21(tmp_path, photos) if image.path.startswith("val/") and not image.reason]
    (tmp_path / laid[0].path).unlink()
    rows = list_twice(f"a=inat21:{tmp_path}/val.json")
    assert reasons_of(rows) == {laid[0].path: "vanished"}
    check([{**row, "reason": None} for row in rows], laid, "common_name", "license")


def test_inat21_images_and_files_without_one_another(tmp_path: Path, photos: Path) -> None:
    laid = make_inat21(tmp_path, photos)
    gone, kept = laid[0].path, laid[1]
    (tmp_path / gone).unlink()
    content = json.loads((tmp_path / "train.json").read_text())
    del content["images"][1]
    del content["annotations"][-1]
    (tmp_path / "train.json").write_text(json.dumps(content))
    rows = {row["path"]: row for row in list_all(f"a=inat21:{tmp_path}", annotations="train.json", trees="train")}
    assert rows[gone]["reason"] == "vanished"
    assert (rows[kept.path]["species"], rows[kept.path]["license"]) == (kept.label, None)
    unlabelled = rows[content["images"][-1]["file_name"]]
    assert (unlabelled["label"], unlabelled["reason"]) == (None, None)
    assert unlabelled["license"] == "http://creativecommons.org/licenses/by/2.0/"


@pytest.mark.parametrize(
    ("folder", "species"),
    [
        ("02912_Animalia_Chordata_Aves_Passeriformes_Corvidae_Pica_hudsonia", "Pica hudsonia"),
        ("1_Animalia_Arthropoda_Arachnida_Araneae_Araneidae_Zygiella_x-notata", "Zygiella x-notata"),
        ("1_Plantae____Rosaceae_Malus_×domestica", "Malus × domestica"),
        ("1_Animalia_Chordata_Mammalia_Carnivora_Ursidae_Ursus_arctos_horribilis", "Ursus arctos horribilis"),
        ("1_Metazoa______", None),
        ("1_______", "misnamed"),
        ("Animalia_Chordata_Aves_Passeriformes_Corvidae_Pica_hudsonia", "misnamed"),
        ("1_Animalia_Chordata_Aves_incertae_sedis_Corvidae_Pica_hudsonia", "misnamed"),
        ("1_Pica_hudsonia", "misnamed"),
    ],
)
def test_inat21_names_in_folders(tmp_path: Path, folder: str, species: str | None) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "a.jpg").write_bytes(b"x")
    [row] = list_all(f"a=inat21:{tmp_path}")
    assert (row["species"] or row["reason"]) == species
    assert row["kingdom"] in ("Animalia", "Plantae", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [{"id": 1}]}, "no entry of 'images' has a 'file_name'"),
        ({"images": []}, "no list 'images' with entries"),
        ({"annotations": [{"category_id": 1}]}, "an entry of 'annotations' has no 'image_id'"),
    ],
)
def test_inat21_annotations_that_say_nothing(
    tmp_path: Path, photos: Path, changes: dict[str, Any], message: str
) -> None:
    make_inat21(tmp_path, photos, trees={"val": 1})
    content = json.loads((tmp_path / "val.json").read_text())
    (tmp_path / "val.json").write_text(json.dumps(content | changes))
    with pytest.raises(SourceError, match=message):
        list_all(f"a=inat21:{tmp_path}/val.json")


@pytest.mark.parametrize("root", ["val.json", ""])
@pytest.mark.parametrize(
    ("change", "reason", "note"),
    [
        ({"id": None}, "no_metadata", "its entry has no 'id'"),
        ({"id": "one"}, "no_metadata", "its entry has no 'id'"),
        ({"categories": [99]}, "bad_sample", "has category_id 99 which is not in 'categories'"),
        ({"categories": ["x"]}, "bad_sample", "has category_id null which is not in 'categories'"),
        ({"categories": [0, 1]}, "twice", "has annotations of the categories 0 1"),
        ({"file_name": None}, "misnamed", "images[0] of val.json names no image"),
        ({"file_name": 7}, None, None),  # a name, if of no file
    ],
)
def test_an_annotation_that_is_wrong_costs_its_row(
    tmp_path: Path, photos: Path, root: str, change: dict[str, Any], reason: str | None, note: str | None
) -> None:
    make_inat21(tmp_path, photos, trees={"val": 1})
    content = json.loads((tmp_path / "val.json").read_text())
    options = {} if root else {"annotations": "val.json"}
    before = list_all(f"a=inat21:{tmp_path}/{root}", **options)
    first = content["images"][0]
    if "categories" in change:
        others = [pair for pair in content["annotations"] if pair["image_id"] != first["id"]]
        pairs = [{"image_id": first["id"], "category_id": category} for category in change["categories"]]
        content["annotations"] = pairs + others
    else:
        first.update(change)
    (tmp_path / "val.json").write_text(json.dumps(content))
    rows = list_all(f"a=inat21:{tmp_path}/{root}", **options)
    wrong = [(row["reason"], row["note"]) for row in rows if row["note"]]
    assert wrong == ([(reason, note)] if note else [])
    same = [row for row in rows if row in before]
    assert len(same) >= len(before) - 1


def test_numbers_of_categories_are_labels_and_no_species(tmp_path: Path, photos: Path) -> None:
    make_inat21(tmp_path, photos, trees={"val": 1})
    content = json.loads((tmp_path / "val.json").read_text())
    content["categories"] = [
        {"id": category["id"], "name": str(category["id"]), "supercategory": "Plantae"}
        for category in content["categories"]
    ]
    (tmp_path / "val.json").write_text(json.dumps(content))
    rows = list_all(f"a=inat21:{tmp_path}/val.json")
    assert {row["label"] for row in rows} == {str(category["id"]) for category in content["categories"]}
    assert {row[rank] for row in rows for rank in RANKS} == {None}


@pytest.mark.parametrize(
    "text",
    ['{"images": [', '{"images": [1] 2}', "[]", '{"annotations": []}', '{"images": [{]}', '{"images":' + "[" * 100_000],
)
def test_inat21_files_that_are_no_annotations(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SourceError, match=r"a.json: (cannot be read as JSON|no list 'images')"):
        list_all(f"a=inat21:{tmp_path}/a.json")


def test_inat21_annotations_may_begin_with_a_byte_order_mark(tmp_path: Path, photos: Path) -> None:
    make_inat21(tmp_path, photos, trees={"val": 1})
    whole = list_all(f"a=inat21:{tmp_path}/val.json")
    (tmp_path / "val.json").write_text((tmp_path / "val.json").read_text("utf-8"), "utf-8-sig")
    assert list_all(f"a=inat21:{tmp_path}/val.json") == whole


def test_inat21_annotations_are_read_in_blocks(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laid = make_inat21(tmp_path, photos, trees={"val": 1})
    whole = list_all(f"a=inat21:{tmp_path}/val.json")
    monkeypatch.setattr("shardforge.sources.json_stream._BLOCK", 7)
    assert list_all(f"a=inat21:{tmp_path}/val.json") == whole
    assert len(whole) == len(laid) - 1


# eol


def test_eol_pages_have_the_ranks_of_the_hierarchy(tmp_path: Path, photos: Path) -> None:
    laid = make_eol(tmp_path, photos)
    rows = list_twice(f"a=eol:{tmp_path}/media", **EOL_TABLES)
    check(rows, laid, "group_id", "license")
    by_path = {row["path"]: row for row in rows}
    image = next(by_path[image.path] for image in laid if "::" in image.path)
    assert (image["author"], image["url"][:26]) == ("Jane Doe, Museum of Nature", "https://example.org/media/")
    assert json.loads(image["metadata"]).keys() == {"eol_content_id", "eol_page_id", "eol_full_size_copy_url"}
    assert all(data.startswith(b"\xff\xd8") for data in read_all(tmp_path / "media", rows))


def test_eol_without_tables_knows_ids_alone(tmp_path: Path, photos: Path) -> None:
    make_eol(tmp_path, photos)
    rows = list_all(f"a=eol:{tmp_path}/media")
    assert {row["label"] for row in rows} == {None}
    assert sum(row["group_id"] is not None for row in rows) == len(rows) - 2
    assert sorted(set(reasons_of(rows).values())) == ["compressed", "misnamed"]


def test_eol_page_of_a_higher_taxon_has_no_ranks_below(tmp_path: Path, photos: Path) -> None:
    [row] = pick_taxa(HARD["common name"], 1)
    write_hierarchy(tmp_path / "taxon.tab", {5: {**row, "species": "", "genus": ""}, 6: row})
    for page in (5, 6, 7):
        (tmp_path / f"1_{page}_eol.jpg").write_bytes(b"x")
    family, species, unknown = list_all(f"a=eol:{tmp_path}", names="taxon.tab")
    assert (family["label"], family["genus"], family["order"]) == (row["family"], None, row["order"])
    assert tuple(species[rank] for rank in RANKS) == ranks_of(row)
    assert (unknown["label"], unknown["reason"]) == (None, None)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"page_id": 7, "scientific_name": "Atadinus fallax (Boiss.) Hauenschild"},
            ("Atadinus", "Atadinus fallax", None),
        ),
        ({"page_id": 7, "canonical_form": "<i>Atadinus</i>"}, (None, None, None)),
        (
            {"eol_page_id": 7, "genus": "Pica", "species": "hudsonia", "common": "magpie"},
            ("Pica", "Pica hudsonia", "magpie"),
        ),
        ({"page_id": 7, "canonical": "Salix x fragilis"}, ("Salix", "Salix × fragilis", None)),
    ],
)
def test_eol_names_come_from_any_of_its_tables(
    tmp_path: Path, columns: dict[str, object], expected: tuple[str | None, ...]
) -> None:
    write_table(tmp_path / "names.csv", [columns])
    (tmp_path / "1_7_eol-full-size-copy.jpg").write_bytes(b"x")
    [row] = list_all(f"a=eol:{tmp_path}", names="names.csv")
    assert (row["genus"], row["species"], row["common_name"]) == expected


def test_eol_the_first_table_that_names_a_page_counts(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", [{"page_id": 1, "canonical": "Pica pica"}, {"page_id": 2, "canonical": ""}])
    write_table(tmp_path / "b.csv", [{"page_id": i, "canonical": "Corvus corax"} for i in (2, 1)])
    for page in (1, 2):
        (tmp_path / f"9_{page}_eol.jpg").write_bytes(b"x")
    assert [row["species"] for row in list_all(f"a=eol:{tmp_path}", names="a.csv,b.csv")] == [
        "Pica pica",
        "Corvus corax",
    ]


def test_eol_licences_from_manifests_without_header_and_from_treeoflife(tmp_path: Path) -> None:
    (tmp_path / "media_manifest_2.csv").write_text("11,1,https://a/1.jpg,https://b/1.jpg,cc-by,\n")
    licenses = {"treeoflife_id": "x", "eol_content_id": 12, "eol_page_id": 1, "md5": "ab", "license_name": "cc-0"}
    write_table(tmp_path / "licenses.csv", [{**licenses, "copyright_owner": "not provided", "title": 'A "b"'}])
    for content in (11, 12):
        (tmp_path / f"{content}_1_eol.jpg").write_bytes(b"x")
    first, second = list_all(f"a=eol:{tmp_path}", licenses="media_manifest_*.csv,licenses.csv")
    assert (first["license"], first["url"], first["author"]) == ("cc-by", "https://a/1.jpg", None)
    assert (second["license"], second["author"]) == ("cc-0", None)
    assert json.loads(second["metadata"])["title"] == 'A "b"'


def test_eol_taxa_that_are_their_own_parents_are_roots(tmp_path: Path) -> None:
    (tmp_path / "9_1_eol.jpg").write_bytes(b"x")
    header = "taxonID,eolID,parentNameUsageID,taxonRank,canonicalName\n"
    (tmp_path / "taxa.csv").write_text(f"{header}1,1,2,genus,Aus\n2,2,2,family,Bidae\n")
    [row] = list_all(f"a=eol:{tmp_path}", names="taxa.csv")
    assert (row["family"], row["genus"]) == ("Bidae", "Aus")


def test_eol_bacteria_have_their_domain_for_a_kingdom(tmp_path: Path) -> None:
    (tmp_path / "9_3_eol.jpg").write_bytes(b"x")
    header = "taxonID,eolID,parentNameUsageID,taxonRank,canonicalName\n"
    rows = "1,,,clade,Life\n2,2,1,domain,Bacteria\n3,3,2,genus,Nostoc\n"
    (tmp_path / "taxa.csv").write_text(f"{header}{rows}")
    [row] = list_all(f"a=eol:{tmp_path}", names="taxa.csv")
    assert (row["kingdom"], row["genus"]) == ("Bacteria", "Nostoc")


def test_eol_tables_that_are_none(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", [{"a": 1}])
    header = "taxonID,eolID,parentNameUsageID,taxonRank,canonicalName\n"
    (tmp_path / "circle.csv").write_text(f"{header}1,1,2,genus,Aus\n2,2,1,family,Bus\n")
    with pytest.raises(UsageError, match=r"option names: .*/u.csv is not a file"):
        list_all(f"a=eol:{tmp_path}", names="u.csv")
    with pytest.raises(SourceError, match=r"t.csv: no columns of page ids and names; .* found a"):
        list_all(f"a=eol:{tmp_path}", names="t.csv")
    with pytest.raises(SourceError, match=r"t.csv: no columns of content ids and licences; .* found a"):
        list_all(f"a=eol:{tmp_path}", licenses="t.csv")
    with pytest.raises(SourceError, match=r"circle.csv: the parents of Aus form a circle"):
        list_all(f"a=eol:{tmp_path}", names="circle.csv")


# bioscan


@pytest.mark.parametrize("version", ["1M", "5M"])
@pytest.mark.parametrize("package", ["folder", "tar", "zip", "deflated", "hdf5"])
def test_bioscan_rows_meet_their_images(tmp_path: Path, photos: Path, version: str, package: str) -> None:
    laid = make_bioscan(tmp_path, photos, version=version, package=package)
    rows = list_twice(f"a=bioscan:{tmp_path}", metadata=METADATA[version])
    check(rows, laid, "group_id")
    metadata = json.loads(rows[0]["metadata"])
    assert (metadata["dna_bin"], metadata["dna_barcode"]) == ("BOLD:AAA0000", "ACGT")
    assert "not_classified" not in str(rows)
    assert read_all(tmp_path, rows) == [bioscan_picture(photos, i) for i in range(21) if i != 4]


@pytest.mark.parametrize("package", ["deflated", "hdf5"])
def test_bioscan_packages_go_through_the_pipeline(tmp_path: Path, photos: Path, package: str) -> None:
    laid = make_bioscan(tmp_path / "data", photos, package=package)
    db, out = tmp_path / "mapping.duckdb", tmp_path / "out"
    source = ("--source", f"b=bioscan:{tmp_path}/data", "--option", "b.metadata=metadata.tsv")
    report = json.loads(run("map", "--db", db, *source, "--workers", 0, "--json").stdout)
    usable = sum(image.reason is None for image in laid)
    assert (report["sources"]["b"]["usable"], report["reasons"]) == (usable, {"no_metadata": 1, "vanished": 1})
    with open_mapping(db) as mapping:
        assert mapping.rows("SELECT count(DISTINCT content_hash), count(width) FROM images") == [(usable, usable)]
    run("split", "--db", db, "--seed", 17, "--val-split", 20, "--rule", "exact")
    run("write", "--db", db, "--out", out, "--size", 32, "--label", "species", "--unlabelled", "keep", "--workers", 0)
    run("verify", out / "_info.json", "--level", "decode", "--workers", 0)
    again = json.loads(run("map", "--db", db, *source, "--workers", 0, "--json").stdout)
    assert again["sources"]["b"]["unchanged"] == len(laid)


def test_bioscan_groups_and_splits(tmp_path: Path, photos: Path) -> None:
    make_bioscan(tmp_path, photos, version="5M")
    source = f"a=bioscan:{tmp_path}"
    assert {row["group_id"] for row in list_all(source, metadata="metadata.csv", group="none")} == {None}
    rows = list_all(source, metadata="metadata.csv", group="bin", splits="train")
    assert {row["group_id"] for row in rows if row["group_id"]} == {f"BOLD:AAA{i:04d}" for i in range(5)}
    assert {json.loads(row["metadata"])["split"] for row in rows if row["metadata"]} == {"train"}
    assert reasons_of(rows) == {"train/1/GMABC004-21.jpg": "vanished", "images/train/0/STRAY-99.jpg": "no_metadata"}


def test_bioscan_one_row_describes_the_images_of_all_packages(tmp_path: Path, photos: Path) -> None:
    make_bioscan(tmp_path, photos)
    shutil.copytree(tmp_path / "images", tmp_path / "cropped_256")
    rows = [row for row in list_all(f"a=bioscan:{tmp_path}", metadata="metadata.tsv") if row["reason"] is None]
    assert len(rows) == 40
    assert len({row["group_id"] for row in rows}) == 20


def test_bioscan_tables_that_are_none(tmp_path: Path, photos: Path) -> None:
    write_table(tmp_path / "t.csv", [{"a": 1}])
    write_table(tmp_path / "twice.csv", [{"processid": "a"}, {"processid": "b"}, {"processid": "a"}])
    with pytest.raises(UsageError, match=r"name one by --option a.metadata="):
        list_all(f"a=bioscan:{tmp_path}")
    with pytest.raises(SourceError, match=r"t.csv: no column image_file or processid; .* found a"):
        list_all(f"a=bioscan:{tmp_path}", metadata="t.csv")
    (tmp_path / "gaps.csv").write_text("processid,genus\n,Pica\n")
    with pytest.raises(SourceError, match=r"gaps.csv: no row has a processid; give each row"):
        list_all(f"a=bioscan:{tmp_path}", metadata="gaps.csv")
    with pytest.raises(SourceError, match=r"twice.csv: no column split"):
        list_all(f"a=bioscan:{tmp_path}", metadata="twice.csv", splits="train")


@pytest.mark.parametrize("suffix", ["duckdb", "sqlite"])
def test_bioscan_rows_that_are_wrong_cost_their_row(suffix: str, tmp_path: Path, photos: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    for number, name in enumerate("abcd"):
        (root / f"{name}.jpg").write_bytes(picture(photos, number))
    rows = [
        "a,Pica,train",
        ",Corvus,train",
        "b,Pica,train",
        "b,Corvus,train",
        "c,Pica,train",
        "c,Pica,train",
        "x,Pica,val",
        ",Ara,val",
    ]
    (root / "t.csv").write_text("processid,genus,split\n" + "\n".join(rows) + "\n")
    db = tmp_path / f"m.{suffix}"
    done = run(
        "map",
        "--db",
        db,
        "--source",
        f"b=bioscan:{root}",
        "--option",
        "b.metadata=t.csv",
        "--option",
        "b.splits=train",
    )
    with open_mapping(db) as mapping:
        found = mapping.rows(
            "SELECT i.path, i.genus, i.reason, n.note FROM images AS i LEFT JOIN notes AS n ON n.key = i.key"
        )
    assert sorted(found) == [
        ("a.jpg", "Pica", None, None),
        ("b.jpg", "Pica", "twice", "listed 2 times, with different label, genus"),
        ("c.jpg", "Pica", None, None),
        ("d.jpg", None, "no_metadata", None),
        ("t.csv::row 2", None, "misnamed", "row 2 of t.csv names no image"),
    ]
    assert "rows that say again what others say of their image: 1, such as c.jpg" in done.stderr


# Archives


def test_an_archive_can_be_the_root(tmp_path: Path, photos: Path) -> None:
    make_bioscan(tmp_path, photos, package="zip")
    rows = list_all(f"a=bioscan:{tmp_path}/images/images.zip", metadata="../metadata.tsv")
    assert rows[0]["path"] == "images.zip::part1/GMABC000-21.jpg"
    assert read_all(tmp_path / "images", rows)


def test_what_an_archive_hides_has_a_reason(tmp_path: Path, photos: Path) -> None:
    image = picture(photos, 0)
    write_hdf5(tmp_path / "chunked.h5", {"1_1_eol.jpg": image}, chunks=(100,), compression="gzip")
    with zipfile.ZipFile(tmp_path / "strong.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("2_1_eol.jpg", image)
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        archive.writestr("3_1_eol.jpg", image)
    os.truncate(tmp_path / "cut.zip", len(image))
    (tmp_path / "no.hdf5").write_bytes(b"no HDF5")
    (tmp_path / "empty.zip").write_bytes(b"")
    assert reasons_of(list_all(f"a=eol:{tmp_path}")) == {
        "chunked.h5::bioscan_dataset/1_1_eol.jpg": "compressed",
        "cut.zip": "corrupt",
        "empty.zip": "empty_file",
        "no.hdf5": "corrupt",
        "strong.zip::2_1_eol.jpg": "compressed",
    }


def test_a_damaged_zip_entry_is_not_read(tmp_path: Path, photos: Path) -> None:
    make_bioscan(tmp_path, photos, package="deflated")
    row = list_all(f"a=bioscan:{tmp_path}", metadata="metadata.tsv")[0]
    file = tmp_path / "images" / "images.zip"
    data = bytearray(file.read_bytes())
    start = row["offset"] + 30 + len("part1/GMABC000-21.jpg")
    data[start : start + 40] = b"\xff" * 40
    file.write_bytes(data)
    os.utime(file, ns=(row["mtime"], row["mtime"]))
    with pytest.raises(ImageError) as caught:
        read_record(str(tmp_path), row["path"], row["offset"], row["bytes"], row["mtime"])
    assert caught.value.reason == "corrupt"


def test_zips_beyond_4_gib_and_behind_other_data_are_read(tmp_path: Path, photos: Path) -> None:
    image = picture(photos, 0)
    with open(tmp_path / "big.zip", "wb") as file:
        file.write(b"a start of its own")
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("1_1_eol.jpg", image)
            file.truncate(file.seek(5 << 30))  # a hole: no byte of it is on disk
            archive.start_dir = file.tell()
            archive.writestr("2_1_eol.jpg", image)
    rows = list_all(f"a=eol:{tmp_path}")
    assert rows[1]["offset"] >= 5 << 30
    assert read_all(tmp_path, rows) == [image, image]
    (tmp_path / "big.zip").unlink()


def test_columns_of_names_are_read_as_one_name_is() -> None:
    rows = [
        *(("Anas", "unknown"), ("Anas", "crecca"), ("Anas", "sp."), ("Anas", "cf. crecca"), (None, "Anas crecca")),
        *(("Salix", "×fragilis"), (None, "× Heucherella"), (None, "Tobacco mosaic virus"), ("Anas", None)),
    ]
    genus, species = (pa.array(values, pa.string()) for values in zip(*rows, strict=True))
    found = normalise_ranks({"genus": genus, "species": species}, len(rows))
    taxa = [make_taxon({"genus": genus, "species": species}) for genus, species in rows]
    assert found["genus"].to_pylist() == [taxon.genus or None for taxon in taxa]
    assert found["species"].to_pylist() == [taxon.species or None for taxon in taxa]
    assert found["species"].to_pylist()[:4] == [None, "Anas crecca", None, "Anas cf. crecca"]


def test_every_hard_case_is_laid_out() -> None:
    taxa = eol_taxa()
    assert [case for case, test in HARD.items() if not any(test(row) for row in taxa)] == []


def test_inat21_options_that_do_not_fit_the_root(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UsageError, match=r"is no annotation file"):
        parse_source(f"a=inat21:{tmp_path}", {"root": "images"})
    with pytest.raises(UsageError, match=r"a.json is itself one"):
        parse_source(f"a=inat21:{tmp_path}/a.json", {"annotations": "b.json"})
