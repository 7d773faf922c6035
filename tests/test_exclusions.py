"""Exclusion lists: what their entries match, and what is said about those that match nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pipeline import run
from test_splits import ENGINES, HALF, Record, assigned, mapping_of

from shardforge.errors import UsageError
from shardforge.splits.assign import assign_splits
from shardforge.splits.checks import check_mapping
from shardforge.splits.exclusion_lists import ExclusionList, parse_list
from shardforge.splits.names import read_taxon
from shardforge.splits.report import SplitReport

EOL = "28861_491995_eol-full-size-copy.jpg"
METADATA = json.dumps({"eol_content_id": 77})

#: Records of three sources: an iNat-like tree, files of EOL, a table with ids; and others that no list names.
RECORDS: list[Record] = [
    {"key": "inat", "source": "inat", "path": "train/02912_Ara/0a1b.jpg", "genus": "Ara", "species": "Ara macao"},
    {"key": "eol", "source": "eol", "path": f"a/b/{EOL}", "genus": "Ara", "species": "macao"},
    {"key": "packed", "source": "eol", "path": "set.tar::x/9_8_eol-small.jpg", "species": "Ara macao (Linnaeus, 1758)"},
    {"key": "table", "source": "table", "path": "5.png", "metadata": METADATA, "species": "Ara macao cyanopterus"},
    {"key": "folder", "source": "folder", "path": "Ara_macao/1.jpg", "label": "Ara_macao"},
    {"key": "mussel", "source": "eol", "path": "m/6_7_eol.jpg", "genus": "Cyclonaias", "species": "tuberculata"},
    {"key": "hybrid", "source": "table", "path": "h.jpg", "species": "Salix × fragilis"},
    {"key": "fox", "source": "table", "path": "fox.jpg", "species": "Vulpes vulpes"},
    *({"key": f"k{i}", "source": "rest", "path": f"rest/k{i}.jpg", "species": f"Aus bus{i % 3}"} for i in range(30)),
]
#: All that is written in some way as Ara macao.
MACAWS = {"inat", "eol", "packed", "table", "folder"}


def split(engine: str, records: list[Record], *lists: ExclusionList) -> tuple[SplitReport, set[str]]:
    """Return the report of a split and the keys that it leaves out."""
    with mapping_of(engine, records) as mapping:
        report = assign_splits(mapping, seed=1, shares=HALF, exclude=lists)
        assert not [result for result in check_mapping(mapping) if result.rows]
        return report, {record["key"] for record in records} - set(assigned(mapping))


def write_list(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@ENGINES
@pytest.mark.parametrize(
    ("name", "content", "excluded"),
    [
        # Taxa in any spelling, and all subspecies with their species.
        ("taxa.txt", "ara macao\n", MACAWS),
        ("authors.txt", "Ara macao Linnaeus, 1758\n", MACAWS),
        ("subspecies.txt", "Ara macao cyanopterus\n", {"table"}),
        ("ranks.txt", "Animalia-Chordata-Aves-Psittaciformes-Psittacidae-Ara-macao\n", MACAWS),
        ("epithets.csv", "kingdom,genus,species\nAnimalia,Cyclonaias,tuberculata\n", {"mussel"}),
        ("names.csv", "sciName\nSalix fragilis\n", {"hybrid"}),
        # Images by file name in any folder or archive, by the id of EOL, by an id in the metadata.
        ("names.json", [f"/elsewhere/{EOL}", "/elsewhere/9_8_eol-small.jpg"], {"eol", "packed"}),
        ("other_size.json", ["/elsewhere/28861_491995_eol-260x190.jpg"], {"eol"}),
        ("ids.csv", "eol_content_id,species\n28861,Vulpes vulpes\n77,\n9,\n", {"eol", "table", "packed"}),
        ("stems.txt", "0a1b\n", {"inat"}),
        ("files.txt", "Vulpes_vulpes_7.jpg\n/x/h.jpg\n", {"hybrid"}),
    ],
)
def test_an_entry_finds_its_records_in_every_source(
    engine: str, name: str, content: Any, excluded: set[str], tmp_path: Path
) -> None:
    report, left_out = split(engine, RECORDS, parse_list(str(write_list(tmp_path, name, content))))
    assert left_out == excluded
    assert report.unmatched == ({"files": ["Vulpes_vulpes_7.jpg"]} if name == "files.txt" else {})


@ENGINES
def test_the_benchmark_lists_of_rare_species_keep_images_or_whole_taxa_out(engine: str, tmp_path: Path) -> None:
    seen = write_list(tmp_path, "seen_in_training.json", {"Ara macao": [f"/fs/eol/{EOL}"]})
    mussel = "Animalia-Mollusca-Bivalvia-Unionida-Unionidae-Cyclonaias-tuberculata"
    unseen = write_list(tmp_path, "unseen_in_training.json", {mussel: ["/fs/eol/6_7_eol.jpg", "/fs/inat/0a1b.jpg"]})
    other = {"key": "other", "source": "inat", "path": "o.jpg", "species": "Cyclonaias tuberculata"}
    report, left_out = split(engine, [*RECORDS, other], parse_list(str(seen)), parse_list(str(unseen), taxa=True))
    assert left_out == {"eol", "mussel", "inat", "other"}  # not the other macaws: that list is of images
    counts = {count.list: (count.reason, count.entries, count.images) for count in report.exclusions}
    assert counts == {"seen_in_training": ("Ara macao", 1, 1), "unseen_in_training": (mussel, 3, 3)}
    assert report.unmatched == {}


@pytest.mark.parametrize(
    ("name", "content", "excluded"),
    [
        ("list.txt", "Ara macao\n0a1b.jpg\n", MACAWS),
        ("list.json", ["Vulpes vulpes"], {"fox"}),
        ("list.csv", "file,species\nfox.jpg,Ara macao\n", {*MACAWS, "fox"}),
    ],
)
def test_a_list_of_taxa_names_taxa_beside_its_images(
    name: str, content: Any, excluded: set[str], tmp_path: Path
) -> None:
    report, left_out = split("duckdb", RECORDS, parse_list(str(write_list(tmp_path, name, content)), taxa=True))
    assert left_out == excluded
    assert report.unmatched == ({"list": ["0a1b.jpg"]} if name == "list.txt" else {})


@ENGINES
def test_labels_that_are_no_names_are_not_taken_for_each_other(engine: str, tmp_path: Path) -> None:
    labels = ["dog (small)", "dog (large)", "Dog_(small)"]
    records = [*RECORDS, *({"key": f"d{i}", "path": f"{i}.jpg", "label": label} for i, label in enumerate(labels))]
    _, left_out = split(engine, records, parse_list(str(write_list(tmp_path, "dogs.txt", "dog (small)\n"))))
    assert left_out == {"d0", "d2"}


@ENGINES
def test_an_entry_without_a_record_is_named_with_the_nearest_names(engine: str, tmp_path: Path) -> None:
    path = write_list(tmp_path, "typos.txt", "Vulpes vulpis\nArra macao\nqqqqqqq\n/no/such/file.jpg\n")
    report, left_out = split(engine, RECORDS, parse_list(str(path)))
    assert left_out == set()
    assert report.unmatched == {"typos": ["Vulpes vulpis", "Arra macao", "qqqqqqq", "/no/such/file.jpg"]}
    assert [(count.entries, count.images) for count in report.exclusions] == [(4, 0)]
    assert set(report.nearest) == {"Vulpes vulpis", "Arra macao"}
    assert report.nearest["Vulpes vulpis"] == ["Vulpes vulpes"]
    assert "Ara macao" in report.nearest["Arra macao"]


def test_two_lists_of_one_stem_need_names(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_list(tmp_path / folder, "list.txt", "fox\n" if folder == "one" else "inat\n")
    one, two = (str(tmp_path / folder / "list.txt") for folder in ("one", "two"))
    with mapping_of("sqlite", RECORDS) as mapping, pytest.raises(UsageError, match=r"two exclusion lists .* NAME=FILE"):
        assign_splits(mapping, seed=1, shares=HALF, exclude=[Path(one), Path(two)])
    report, left_out = split("sqlite", RECORDS, parse_list(one), parse_list(f"second={two}"))
    assert left_out == {"fox", "inat"}
    assert {count.list for count in report.exclusions} == {"list", "second"}


def test_a_file_whose_name_holds_an_equals_sign_is_found(tmp_path: Path) -> None:
    path = write_list(tmp_path, "seed=17.txt", "fox\n")
    assert parse_list(str(path)) == ExclusionList("seed=17", path)


@pytest.mark.parametrize("text", ["=list.txt", "name=", "="])
def test_a_list_without_a_name_or_a_file_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"exclusion list {text}: give it as FILE or NAME=FILE"):
        parse_list(text)


def test_rows_with_and_without_a_reason_are_counted_apart(tmp_path: Path) -> None:
    path = write_list(tmp_path, "LIST.CSV", "key,reason\nfox,rare\ninat,\n")
    report, left_out = split("sqlite", RECORDS, ExclusionList("list", path))
    assert left_out == {"fox", "inat"}
    assert [(count.list, count.reason, count.images) for count in report.exclusions] == [
        ("list", None, 1),
        ("list", "rare", 1),
    ]


def test_suffixes_may_be_in_capitals(tmp_path: Path) -> None:
    path = write_list(tmp_path, "TAXA.TAB", 'scientific_name\tremarks\nAra macao\t"so-called\nVulpes vulpes\t\n')
    assert [entry.text for entry in ExclusionList("list", path).read()] == ["Ara macao", "Vulpes vulpes"]


def test_a_list_that_replaces_another_of_its_name_says_so(tmp_path: Path) -> None:
    path = write_list(tmp_path, "list.txt", "fox\n")
    with mapping_of("duckdb", RECORDS) as mapping:
        first = assign_splits(mapping, seed=1, shares=HALF, exclude=[path])
        again = assign_splits(mapping, seed=1, shares=HALF, exclude=[path])
        path.write_text("inat\n")
        other = assign_splits(mapping, seed=1, shares=HALF, exclude=[path])
    assert (first.replaced, again.replaced, other.replaced) == ((), (), ("list",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("surrogate.json", b'["\\ud800"]', "half a surrogate pair"),
        ("surrogate_reason.json", b'{"\\ud800": ["a"]}', "half a surrogate pair"),
        ("deep.json", b"[" * 100_000, "lists inside lists"),
        ("huge.json", b"[" + b"9" * 5_000 + b"]", "is a list of texts"),
        ("bad.json", b'["a"', "not JSON .*line 1 column 5"),
        ("empty.json", b"", r"empty, which is not JSON; write \[\]"),
        ("object.json", b'{"a": {"b": []}}', "object of such lists by reason"),
        ("long.csv", b"key\n" + b"k" * 131_073, "not a table .*field larger than"),
        ("utf16.csv", "key\nfox\n".encode("utf-16"), "is UTF-16 text, not a table in text; convert it .* iconv"),
        ("utf16.txt", "fox\n".encode("utf-16"), "is UTF-16 text, not lines of text"),
        ("latin1.txt", "Aus é\n".encode("latin-1"), "not UTF-8 .*at byte 4"),
        ("folder", None, "cannot be read"),
        ("README.md", b"# Rare species\n\nAra macao\n", "not a kind of exclusion list; give .*txt"),
    ],
)
def test_a_list_that_cannot_be_read_is_one_sentence(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        ExclusionList("list", path).read()


@ENGINES
def test_ids_in_metadata_are_texts_and_whole_numbers_as_written(engine: str, tmp_path: Path) -> None:
    ids: dict[str, Any] = {"long": 12345678901234567890, "longer": 10**30, "text": 'a"é', "flag": True, "zero": -0.0}
    records = [{"key": key, "metadata": json.dumps({"id": value})} for key, value in ids.items()]
    entries = ["12345678901234567890", str(10**30), 'a"é', "true", "1", "-0.0", "0", "1e+30"]
    path = write_list(tmp_path, "ids.txt", "\n".join(entries))
    _, left_out = split(engine, [*RECORDS[-30:], *records], parse_list(str(path)))
    assert left_out == {"long", "longer", "text"}


@ENGINES
def test_a_file_is_of_eol_when_digits_alone_stand_in_its_name(engine: str, tmp_path: Path) -> None:
    names = ["5abc_2x_eol.jpg", "6_2x_eol.jpg", "7_2_eol.jpg"]
    records = [{"key": name, "path": name} for name in names]
    path = write_list(tmp_path, "ids.csv", "id\n5abc\n6\n7")
    _, left_out = split(engine, [*RECORDS[-30:], *records], parse_list(str(path)))
    assert left_out == {"7_2_eol.jpg"}


def test_a_reason_that_stands_twice_in_json_has_both_lists(tmp_path: Path) -> None:
    path = write_list(tmp_path, "twice.json", '{"rare": ["a"], "other": ["b"], "rare": ["c"]}')
    assert [(entry.text, entry.reason) for entry in ExclusionList("list", path).read()] == [
        ("a", "rare"),
        ("b", "other"),
        ("c", "rare"),
    ]


def test_a_row_that_names_nothing_is_counted(tmp_path: Path) -> None:
    path = write_list(tmp_path, "list.csv", "key,remarks\nfox,\n,seen twice\n")
    report, left_out = split("duckdb", RECORDS, parse_list(str(path)))
    assert left_out == {"fox"}
    assert report.unmatched == {"list": ["line 3, which names nothing"]}
    assert report.exclusions[0].entries == 2


@pytest.mark.parametrize("header", ["scientific_name", "scientificName"])
def test_a_tab_file_is_a_table_without_quotes(header: str, tmp_path: Path) -> None:
    content = f'taxonID\tkingdom\t{header}\tremarks\n7\tAnimalia\tAra macao\t"so-called\n8\tAnimalia\tVulpes vulpes\t\n'
    path = write_list(tmp_path, "taxon.tab", content)
    assert [(entry.text, entry.kind) for entry in ExclusionList("list", path).read()] == [
        ("Ara macao", "taxon"),
        ("Vulpes vulpes", "taxon"),
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Animalia-Mollusca-Bivalvia-Unionida-Unionidae-Cyclonaias-tuberculata", "Cyclonaias tuberculata"),
        ("Plantae-Tracheophyta-Magnoliopsida-Asterales-Asteraceae-Aster-novae-angliae", "Aster novae-angliae"),
        ("Animalia-Chordata-Aves---Anas-crecca", "Anas crecca"),
        ("Animalia-Chordata-Aves-Anseriformes-Anatidae-Anas-", "Anas"),
        ("Aster novae-angliae", "Aster novae-angliae"),
        ("Animalia------", "Animalia"),
        ("------", "------"),
        ("a-b-c", "a-b-c"),
        ("folder/a-b-c-d-e-f-g.jpg", "folder/a-b-c-d-e-f-g.jpg"),
    ],
)
def test_seven_ranks_joined_by_hyphens_are_a_name(text: str, name: str) -> None:
    assert read_taxon(text) == name


def test_the_command_counts_and_warns(photos: Path, tmp_path: Path) -> None:
    db = tmp_path / "mapping.duckdb"
    run("map", "--db", db, "--source", f"photos=table:{photos / 'photos.csv'}", "--workers", 0)
    many = {f"reason {i:02d}": [f"Felis_catus_{i}.webp"] for i in range(1, 26)}
    many["reason 01"].append("Felis catis")
    many["reason 02"].append("F" * 1_000_000)
    images = write_list(tmp_path, "images.json", many)
    taxa = write_list(tmp_path, "taxa.txt", "Bovidae\n")
    done = run(
        *("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 20),
        *("--exclude", f"cats={images}", "--exclude-taxa", taxa),
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["taxa", "1", "3"] in rows
    assert ["cats", "reason", "01", "2", "1"] in rows
    assert len(done.stderr) < 2_000
    assert ["cats", "(5", "more)", "5", "0"] in rows
    assert "Felis catis (nearest: Felis catus)" in done.stderr
    assert sum(int(row[1]) for row in rows[1:3]) == 41
