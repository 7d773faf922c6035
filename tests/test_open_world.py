"""Open-world splits: whole taxa that training never sees."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from pipeline import run
from test_splits import ENGINES, THREE_WAYS, Record, assigned, insert_images, mapping_of

from shardforge.errors import SplitError, UsageError
from shardforge.mapping import Mapping
from shardforge.splits.assign import assign_splits
from shardforge.splits.checks import check_mapping
from shardforge.splits.request import SPLITS, HoldOut

#: 40 species, ten records each; every tenth record is only known to its genus.
RECORDS: list[Record] = [
    {
        "key": f"k{i:03d}",
        "content_hash": f"c{i}",
        "genus": "Aus",
        "species": None
        if i % 10 == 9
        else f"Aus s{i % 40:02d}us".replace("0", "o").translate(str.maketrans("123", "abc")),
    }
    for i in range(400)
]
UNSEEN = {"validation_unseen", "test_unseen", "key_unseen"}
QUARTER = HoldOut(share=Fraction(1, 4))


def species_by_split(mapping: Mapping) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = defaultdict(set)
    for split, species in mapping.rows("SELECT s.split, i.species FROM splits AS s JOIN images AS i ON i.key = s.key"):
        found[split].add(species)
    return found


def held_position(seed: int, name: str) -> Fraction:
    return Fraction(int(hashlib.sha256(f"{seed}:taxon:{name}".encode()).hexdigest()[:16], 16), 2**64)


@ENGINES
@pytest.mark.parametrize("rule", [{}, {"rule": "exact"}, {"stratify": "species"}])
def test_no_held_out_taxon_is_in_train(engine: str, rule: dict[str, Any]) -> None:
    with mapping_of(engine, RECORDS) as mapping:
        report = assign_splits(mapping, seed=17, shares=THREE_WAYS, hold_out=QUARTER, **rule)
        species = species_by_split(mapping)
        assert not [result for result in check_mapping(mapping) if result.rows]
    seen = species["train"] | species["validation"] | species["test"]
    unseen = species["validation_unseen"] | species["test_unseen"]
    assert None not in seen | unseen
    assert not seen & unseen
    assert not species["validation_unseen"] & species["test_unseen"]
    assert species["pretrain"] == {None}
    assert report.held_out is not None
    assert sum(report.held_out.held.values()) == len(unseen)
    if rule:
        assert len(unseen) == 9  # a quarter of 36
    else:
        known = {record["species"] for record in RECORDS if record["species"]}
        share = Fraction(1, 4)
        assert unseen == {name for name in known if held_position(17, name.lower()) < share}
        cut = share * THREE_WAYS["validation"] / sum(THREE_WAYS.values())
        assert species["validation_unseen"] == {name for name in known if held_position(17, name.lower()) < cut}


def test_the_splits_do_not_depend_on_engine_or_row_order() -> None:
    found = []
    for engine, records in (("duckdb", RECORDS), ("sqlite", RECORDS[::-1])):
        with mapping_of(engine, records) as mapping:
            assign_splits(mapping, seed=3, shares=THREE_WAYS, rule="exact", hold_out=HoldOut(share=Fraction(1, 5)))
            found.append(assigned(mapping))
    assert found[0] == found[1]


@ENGINES
def test_new_images_and_new_taxa_move_no_taxon(engine: str) -> None:
    with mapping_of(engine, RECORDS) as mapping:
        assign_splits(mapping, seed=17, shares=THREE_WAYS, hold_out=QUARTER)
        before = assigned(mapping)
        more = [{**record, "key": f"m{i}", "content_hash": f"m{i}"} for i, record in enumerate(RECORDS[:80])]
        insert_images(mapping, [*more, {"key": "new", "species": "Bus novus"}])
        report = assign_splits(mapping, seed=17, shares=THREE_WAYS, hold_out=QUARTER)
        assert before.items() <= assigned(mapping).items()
    assert report.moves is not None
    assert report.moves.moved == ()


@ENGINES
def test_a_taxon_is_one_however_it_is_written(engine: str) -> None:
    spellings = ["Canis lupus", "canis lupus", "Canis lupus Linnaeus, 1758", "Canis_lupus", "Canis lupus familiaris"]
    wolves = [{"key": f"w{i}", "species": name} for i, name in enumerate(spellings)]
    epithet = {"key": "w9", "genus": "Canis", "species": "lupus"}
    with mapping_of(engine, [*RECORDS, *wolves, epithet]) as mapping:
        hold_out = HoldOut(taxa=("Canis lupus", "Animalia-Chordata-Mammalia-Carnivora-Felidae-Felis-catus"))
        report = assign_splits(mapping, seed=1, shares={"test": Fraction(1, 4)}, hold_out=hold_out)
        splits = {key: split for key, (split, _) in assigned(mapping).items()}
    assert {key for key, split in splits.items() if split == "test_unseen"} == {*(w["key"] for w in wolves), "w9"}
    assert report.held_out is not None
    assert report.held_out.unmatched == ("Animalia-Chordata-Mammalia-Carnivora-Felidae-Felis-catus",)


@ENGINES
def test_a_group_with_taxa_of_both_sides_is_for_neither(engine: str) -> None:
    records = [
        *RECORDS,
        {"key": "held", "content_hash": "same", "species": "Canis lupus"},
        {"key": "seen", "content_hash": "same", "species": "Felis catus"},
        {"key": "alone", "content_hash": "alone", "species": "Canis lupus"},
        {"key": "copy", "content_hash": "alone"},
        {"key": "cat", "content_hash": "cat", "species": "Felis catus"},
        {"key": "any", "content_hash": "cat"},
    ]
    with mapping_of(engine, records) as mapping:
        report = assign_splits(
            mapping, seed=1, shares={"test": Fraction(1, 4)}, hold_out=HoldOut(taxa=("Canis lupus",))
        )
        splits = {key: split for key, (split, _) in assigned(mapping).items()}
        assert not [result for result in check_mapping(mapping) if result.rows]
    assert splits["held"] == splits["seen"] == "other_heldout"
    assert splits["alone"] == splits["copy"] == "test_unseen"  # a copy without a species follows the one that has one
    assert splits["cat"] == splits["any"] in ("train", "test")
    assert report.held_out is not None
    assert (report.held_out.conflicts, report.held_out.conflict_images) == (1, 2)


@ENGINES
def test_records_without_the_rank_can_be_trained_on(engine: str) -> None:
    hold_out = HoldOut(share=Fraction(1, 4), without_rank="train")
    with mapping_of(engine, RECORDS) as mapping:
        report = assign_splits(
            mapping, seed=17, shares=THREE_WAYS, hold_out=hold_out, subsets={"train_small": Fraction(1, 2)}
        )
        rows = mapping.rows(
            "SELECT s.split, s.subset FROM splits AS s JOIN images AS i ON i.key = s.key WHERE i.species IS NULL"
        )
    assert {split for split, _ in rows} == {"train"}
    assert {subset for _, subset in rows} == {None, "train_small"}
    assert [count.split for count in report.splits] == [
        *("train", "validation", "test", "validation_unseen", "test_unseen")
    ]


@ENGINES
def test_a_share_of_the_unseen_records_are_keys(engine: str) -> None:
    hold_out = HoldOut(share=Fraction(1, 2), keys=Fraction(1, 2))
    with mapping_of(engine, RECORDS) as mapping:
        report = assign_splits(mapping, seed=17, shares=THREE_WAYS, hold_out=hold_out)
        species = species_by_split(mapping)
        groups = mapping.rows(
            "SELECT s.split, coalesce('content:' || i.content_hash, 'key:' || s.key)"
            " FROM splits AS s JOIN images AS i ON i.key = s.key WHERE s.split LIKE '%unseen'"
        )
    assert [count.split for count in report.splits] == [split for split in SPLITS if split != "other_heldout"]
    assert species["key_unseen"] & species["test_unseen"]
    assert not species["key_unseen"] & species["train"]
    for split, group in groups:
        position = Fraction(int(hashlib.sha256(f"17:{group}".encode()).hexdigest()[:16], 16), 2**64)
        assert (split == "key_unseen") == (position < Fraction(1, 2))


@ENGINES
def test_the_check_finds_a_held_out_taxon_in_train(engine: str) -> None:
    with mapping_of(engine, RECORDS) as mapping:
        assign_splits(mapping, seed=17, shares=THREE_WAYS, hold_out=QUARTER)
        [(key, species)] = mapping.rows(
            "SELECT s.key, i.species FROM splits AS s JOIN images AS i ON i.key = s.key"
            " WHERE s.split = 'test_unseen' ORDER BY s.key LIMIT 1"
        )
        mapping.execute("UPDATE splits SET split = 'train' WHERE key = $key", key=key)
        [found] = [result for result in check_mapping(mapping) if result.rows]
    assert (found.check, found.rows) == ("check_split_taxa", 1)
    assert found.first is not None
    assert found.first[1] == species


@pytest.mark.parametrize(
    ("hold_out", "message"),
    [
        ({"share": Fraction(1, 4), "rank": "tribe"}, "'tribe' is not a rank"),
        ({}, "give one of the two"),
        ({"share": Fraction(1, 4), "taxa": ("a",)}, "give one of the two"),
        ({"share": Fraction(1)}, "between 0% and 100%"),
        ({"share": Fraction(1, 4), "without_rank": "test"}, "cannot go to 'test'"),
    ],
)
def test_a_contradictory_hold_out_is_a_usage_error(hold_out: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        HoldOut(**hold_out)


def test_what_is_recorded_of_a_hold_out() -> None:
    assert HoldOut(share=Fraction(1, 4), keys=Fraction(1, 10)).parameters() == {
        "rank": "species",
        "share": "1/4",
        "taxa": None,
        "without_rank": "pretrain",
        "keys": "1/10",
    }
    named = HoldOut(rank="genus", taxa=("Anas", "Ara"), without_rank="train").parameters()
    assert named == HoldOut(rank="genus", taxa=("Ara", "Anas"), without_rank="train").parameters()
    digest = hashlib.sha256(b"Anas\nAra").hexdigest()[:16]
    assert named == {"rank": "genus", "share": None, "taxa": digest, "without_rank": "train", "keys": "0"}


@ENGINES
@pytest.mark.parametrize(
    ("hold_out", "message"),
    [
        (HoldOut(share=Fraction(1, 4), rank="family"), "no usable record has a family"),
        (HoldOut(share=Fraction(1, 10**4)), "validation_unseen would have no taxon: 0 of 36 taxa .* --rule exact"),
        (HoldOut(taxa=("Nomen nudum",)), "validation_unseen would have no taxon"),
        (HoldOut(share=Fraction(1, 4), keys=Fraction(1, 10**4)), "key_unseen would be empty .* hold out more taxa"),
        (HoldOut(taxa=tuple({r["species"] for r in RECORDS if r["species"]})), "leaves none for train"),
    ],
)
def test_a_hold_out_that_cannot_be_made_is_refused(engine: str, hold_out: HoldOut, message: str) -> None:
    with mapping_of(engine, RECORDS) as mapping, pytest.raises(SplitError, match=message):
        assign_splits(mapping, seed=17, shares=THREE_WAYS, hold_out=hold_out)


@ENGINES
def test_a_name_whose_records_a_list_keeps_out_is_told_from_one_of_no_record(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "rare.txt"
    named = {record["species"] for record in RECORDS} - {None}
    rare, common = sorted(named)[:2], sorted(named)[2:8]
    path.write_text("\n".join(rare))
    with mapping_of(engine, RECORDS) as mapping:
        asked = HoldOut(taxa=(*rare, *common, "Nomen nudum"))
        report = assign_splits(mapping, seed=17, shares=THREE_WAYS, rule="exact", hold_out=asked, exclude=[path])
        assert report.held_out is not None
        assert report.held_out.excluded == dict.fromkeys(rare, "rare")
        assert report.held_out.unmatched == ("Nomen nudum",)
        with pytest.raises(SplitError, match=r"2 given, 2 of them kept out by exclusion lists") as caught:
            assign_splits(mapping, seed=17, shares=THREE_WAYS, hold_out=HoldOut(taxa=tuple(rare)))
        assert "--rule exact" not in str(caught.value)


def test_the_command_holds_out_a_share_or_a_list(photos: Path, tmp_path: Path) -> None:
    db = tmp_path / "mapping.duckdb"
    run("map", "--db", db, "--source", f"photos=table:{photos / 'photos.csv'}", "--workers", 0)
    shared = ("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 10, "--test-split", 10)
    by_share = run(*shared, "--hold-out-taxa", "20%", "--hold-out-rank", "family")
    assert "validation_unseen" in by_share.stdout
    assert "taxa (family) training may see" in by_share.stdout
    names = tmp_path / "names.csv"
    names.write_text("genus,species\nSus,scrofa\nFelis,catus\nCanis,lupus\nRara,avis\n")
    by_name = run(*shared, "--hold-out-taxa", names)
    assert "other held-out taxa" in by_name.stdout
    assert "1 taxon to hold out is the species of no record: Rara avis" in by_name.stderr
    (tmp_path / "cats.txt").write_text("Felis catus\n")
    without_cats = run(*shared, "--hold-out-taxa", names, "--exclude", tmp_path / "cats.txt", "--dry-run")
    assert "1 taxon to hold out is in no split: Felis catus (excluded by cats)" in without_cats.stderr
    out = tmp_path / "shards"
    written = run("write", "--db", db, "--out", out, "--size", 32, "--label", "species", "--workers", 0)
    assert (out / "test_unseen").is_dir()
    assert "45  written" in written.stdout
    run("verify", out / "_info.json", "--db", db, "--workers", 0)
    for share, message in {"-5%": "between 0% and 100%", "nan%": "not a perc", "20%,30%": "not a perc"}.items():
        assert message in run(*shared, f"--hold-out-taxa={share}", code=2).stderr
    lonely = run("split", "--db", db, "--seed", 1, "--hold-out-rank", "genus", code=2)
    assert "need --hold-out-taxa" in lonely.stderr
