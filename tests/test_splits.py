"""Splits: the rules against a model in plain Python, on both engines."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shardforge.errors import SplitError, UsageError
from shardforge.mapping import Mapping, open_mapping
from shardforge.splits.assign import assign_splits
from shardforge.splits.checks import check_mapping

ENGINES = pytest.mark.parametrize("engine", ["duckdb", "sqlite"])
HALF = {"validation": Fraction(1, 2)}
THREE_WAYS = {"validation": Fraction(1, 4), "test": Fraction(1, 5)}

Record = dict[str, Any]

RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "content_hash": st.none() | st.integers(0, 12).map("c{}".format),
            "group_id": st.none() | st.integers(0, 8).map("o{}".format),
            "species": st.none() | st.sampled_from(["ant", "bee", "cat"]),
        }
    ),
    min_size=1,
    max_size=40,
).map(lambda rows: [{"key": f"k{i:02d}", **row} for i, row in enumerate(rows)])


def insert_images(mapping: Mapping, records: list[Record]) -> None:
    complete = [{"source": "s", "path": f"{record['key']}.jpg", **record} for record in records]
    names = sorted({name for record in complete for name in record})
    mapping.insert(
        "images", pa.table({name: pa.array([record.get(name) for record in complete], pa.string()) for name in names})
    )


@contextmanager
def mapping_of(engine: str, records: list[Record]) -> Iterator[Mapping]:
    with (
        tempfile.TemporaryDirectory() as folder,
        open_mapping(Path(folder) / f"mapping.{engine}", write=True, create=True) as mapping,
    ):
        insert_images(mapping, records)
        yield mapping


def assigned(mapping: Mapping, name: str = "default") -> dict[str, tuple[str, str]]:
    """Return key -> (split, group); a group without a name is that of the content."""
    rows = mapping.rows(
        "SELECT s.key, s.split, coalesce(s.group_id, 'content:' || i.content_hash, 'key:' || s.key)"
        " FROM splits AS s JOIN images AS i ON i.key = s.key WHERE s.name = $name",
        name=name,
    )
    assert len({key for key, _, _ in rows}) == len(rows)
    return {key: (split, group) for key, split, group in rows}


def model_groups(records: list[Record], column: str | None) -> dict[str, str]:
    """Return key -> group: connected components, found by relabelling until nothing changes."""
    node = {}
    for record in records:
        value = record.get(column) if column else None
        content = record.get("content_hash")
        node[record["key"]] = (
            f"{column}:{value}" if value else f"content:{content}" if content else f"key:{record['key']}"
        )
    name = dict(node)
    for _ in records:
        for member in ("content_hash", None):
            tied = defaultdict(list)
            for record in records:
                tie = record.get(member) if member else node[record["key"]]
                tied[tie or record["key"]].append(record["key"])
            for keys in tied.values():
                smallest = min((name[key] for key in keys), key=lambda text: (text.startswith("content:"), text))
                name.update(dict.fromkeys(keys, smallest))
    return name


def model_position(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()[:16]


def model_hash_split(seed: int, group: str, shares: dict[str, Fraction]) -> str:
    position = Fraction(int(model_position(seed, group), 16), 2**64)
    validation = shares["validation"]
    if position < Fraction(int(validation * 2**64), 2**64):
        return "validation"
    test = validation + shares.get("test", 0)
    return "test" if position < Fraction(int(test * 2**64), 2**64) else "train"


def model_cut(sizes: list[int], share: Fraction) -> int:
    """Return how many of the groups in order stand before the cut: closest in records, ties to fewer, never all."""
    target = share * sum(sizes)
    return min(range(len(sizes)), key=lambda count: (abs(sum(sizes[:count]) - target), count))


def model_exact_split(seed: int, group_of: dict[str, str], shares: dict[str, Fraction]) -> dict[str, str]:
    sizes = Counter(group_of.values())
    order = sorted(sizes, key=lambda group: model_position(seed, group))
    counts = [sizes[group] for group in order]
    validation = model_cut(counts, shares["validation"])
    test = model_cut(counts, shares["validation"] + shares.get("test", Fraction(0)))
    place = {group: i for i, group in enumerate(order)}
    return {
        key: "validation" if place[group] < validation else "test" if place[group] < test else "train"
        for key, group in group_of.items()
    }


def has_all_splits(splits: dict[str, str], shares: dict[str, Fraction]) -> bool:
    return {"train", *shares} <= set(splits.values())


@ENGINES
@settings(max_examples=12, deadline=None)
@given(records=RECORDS, seed=st.integers(-5, 99), column=st.sampled_from([None, "group_id"]), shuffle=st.randoms())
def test_hash_split_is_the_documented_function_of_seed_and_group(
    engine: str, records: list[Record], seed: int, column: str | None, shuffle: random.Random
) -> None:
    groups = model_groups(records, column)
    expected = {key: model_hash_split(seed, group, THREE_WAYS) for key, group in groups.items()}
    shuffled = list(records)
    shuffle.shuffle(shuffled)
    with mapping_of(engine, shuffled) as mapping:
        if not has_all_splits(expected, THREE_WAYS):
            with pytest.raises(SplitError, match="would be empty"):
                assign_splits(mapping, seed=seed, shares=THREE_WAYS, group_by=column)
            return
        assign_splits(mapping, seed=seed, shares=THREE_WAYS, group_by=column)
        assert assigned(mapping) == {key: (expected[key], group) for key, group in groups.items()}


@ENGINES
@settings(max_examples=12, deadline=None)
@given(
    records=RECORDS, seed=st.integers(0, 99), share=st.sampled_from([Fraction(1, 20), Fraction(1, 3), Fraction(9, 10)])
)
def test_exact_split_is_as_close_as_whole_groups_allow(
    engine: str, records: list[Record], seed: int, share: Fraction
) -> None:
    shares = {"validation": share}
    groups = model_groups(records, "group_id")
    expected = model_exact_split(seed, groups, shares)
    assume(has_all_splits(expected, shares))
    with mapping_of(engine, records) as mapping:
        assign_splits(mapping, seed=seed, shares=shares, rule="exact", group_by="group_id")
        assert {key: split for key, (split, _) in assigned(mapping).items()} == expected


@ENGINES
@settings(max_examples=12, deadline=None)
@given(records=RECORDS, seed=st.integers(0, 99))
def test_stratified_split_is_exact_in_each_class_and_leaves_it_a_train_side(
    engine: str, records: list[Record], seed: int
) -> None:
    assume(any(record["species"] for record in records))
    groups = model_groups(records, None)
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        votes[groups[record["key"]]][record["species"] or ""] += 1
    class_of = {group: min(counts, key=lambda name: (-counts[name], name)) for group, counts in votes.items()}
    expected: dict[str, str] = {}
    for name in set(class_of.values()):
        members = {key: group for key, group in groups.items() if class_of[group] == name}
        expected.update(model_exact_split(seed, members, HALF))
        assert "train" in {expected[key] for key in members}
    assume(has_all_splits(expected, HALF))
    with mapping_of(engine, records) as mapping:
        report = assign_splits(mapping, seed=seed, shares=HALF, stratify="species")
        assert {key: split for key, (split, _) in assigned(mapping).items()} == expected
        assert report.held_back == len(
            set(class_of.values()) - {class_of[groups[key]] for key, split in expected.items() if split == "validation"}
        )


@ENGINES
@pytest.mark.parametrize("rule", ["hash", "exact"])
def test_a_test_split_alone_leaves_no_validation(engine: str, rule: str) -> None:
    records = [{"key": f"k{i:02d}", "content_hash": f"c{i}"} for i in range(40)]
    with mapping_of(engine, records) as mapping:
        assign_splits(mapping, seed=1, shares={"test": Fraction(1, 4)}, rule=rule)
        splits = {group: split for split, group in assigned(mapping).values()}
    ordered = [splits[group] for group in sorted(splits, key=lambda group: model_position(1, group))]
    count = ordered.count("test")
    assert ordered == ["test"] * count + ["train"] * (40 - count)
    assert rule == "hash" or count == 10


@ENGINES
def test_stratifying_by_a_column_without_values_is_refused(engine: str) -> None:
    with (
        mapping_of(engine, [{"key": f"k{i}"} for i in range(4)]) as mapping,
        pytest.raises(SplitError, match="--stratify species"),
    ):
        assign_splits(mapping, seed=1, stratify="species")


@ENGINES
def test_growth_moves_no_key_of_a_hash_split(engine: str) -> None:
    records = [{"key": f"k{i}", "content_hash": f"c{i}"} for i in range(60)]
    with mapping_of(engine, records[:40]) as mapping:
        assign_splits(mapping, seed=17, shares=HALF)
        before = assigned(mapping)
        insert_images(mapping, [*records[40:], {"key": "copy", "content_hash": "c0"}])
        report = assign_splits(mapping, seed=17, shares=HALF)
        after = assigned(mapping)
    assert report.moves is not None
    assert (report.moves.moved, report.moves.new, report.moves.causes) == ((), 21, ("new records (21)",))
    assert before.items() <= after.items()
    assert after["copy"] == after["k0"]


@ENGINES
def test_long_chain_of_shared_images_and_values_is_one_group(engine: str) -> None:
    # Value i and value i+1 share content i; the values are numbered so that neighbours are far apart.
    values = [f"v{i * 37 % 101:03d}" for i in range(101)]
    ties = [
        {"key": f"{side}{i}", "content_hash": f"c{i}", "species": value}
        for i, pair in enumerate(pairwise(values))
        for side, value in zip("ab", pair, strict=True)
    ]
    loose = [{"key": "null", "content_hash": "c50"}, {"key": "other", "content_hash": "d", "species": "w"}]
    alone = [{"key": f"x{i}", "content_hash": f"x{i}"} for i in range(30)]
    with mapping_of(engine, ties + loose + alone) as mapping:
        report = assign_splits(mapping, seed=1, shares=HALF, group_by="species")
        groups = {key: group for key, (_, group) in assigned(mapping).items()}
        assert not [result for result in check_mapping(mapping) if result.rows]
    assert {groups[record["key"]] for record in ties} == {"species:v000"} == {groups["null"]}
    assert groups["other"] == "species:w"
    assert groups["x3"] == "content:x3"
    assert report.merged == 100


@ENGINES
def test_subsets_of_train_are_nested_and_follow_the_formula(engine: str) -> None:
    records = [{"key": f"k{i}", "content_hash": f"c{i}", "label": "a"} for i in range(200)]
    subsets = {"big": Fraction(1, 2), "small": Fraction(1, 10)}
    with mapping_of(engine, records) as mapping:
        report = assign_splits(mapping, seed=5, shares=HALF, subsets=subsets)
        rows = mapping.rows(
            "SELECT s.split, 'content:' || i.content_hash, s.subset FROM splits AS s JOIN images AS i ON i.key = s.key"
        )
    for split, group, subset in rows:
        position = Fraction(int(hashlib.sha256(f"5:subset:{group}".encode()).hexdigest()[:16], 16), 2**64)
        expected = "small" if position < Fraction(1, 10) else "big" if position < Fraction(1, 2) else None
        assert subset == (expected if split == "train" else None)
    small, big = report.subsets
    found = Counter(subset for _, _, subset in rows)
    assert (small.images, big.images) == (found["small"], found["small"] + found["big"])


@ENGINES
def test_unusable_records_are_left_out(engine: str) -> None:
    records = [{"key": f"k{i}", "reason": "corrupt" if i % 3 == 0 else None} for i in range(30)]
    with mapping_of(engine, records) as mapping:
        report = assign_splits(mapping, seed=1, shares=HALF)
        assert set(assigned(mapping)) == {f"k{i}" for i in range(30) if i % 3}
    assert sum(count.images for count in report.splits) == 20


@ENGINES
def test_the_same_run_again_changes_nothing(engine: str) -> None:
    with mapping_of(engine, [{"key": f"k{i}"} for i in range(30)]) as mapping:
        assign_splits(mapping, seed=1, shares=HALF)
        mapping.execute("UPDATE split_runs SET created_at = 'then'")
        report = assign_splits(mapping, seed=1, shares=HALF)
        assert mapping.rows("SELECT created_at FROM split_runs") == [("then",)]
    assert report.moves is not None
    assert not report.moves.changed
    assert report.moves.causes == ()


@ENGINES
def test_a_run_over_another_reports_how_many_keys_moved_and_why(engine: str) -> None:
    with mapping_of(engine, [{"key": f"k{i}"} for i in range(60)]) as mapping:
        assign_splits(mapping, seed=1, shares=HALF)
        before = assigned(mapping)
        mapping.execute("DELETE FROM images WHERE key = 'k0'")
        report = assign_splits(mapping, seed=2, shares=HALF, rule="exact")
        after = assigned(mapping)
    moves = report.moves
    assert moves is not None
    moved = Counter((before[key][0], after[key][0]) for key in after if before[key][0] != after[key][0])
    assert {(old, now): images for old, now, images in moves.moved} == moved
    assert moves.vanished == 1
    assert moves.causes == ("another seed (1, now 2)", "another rule (hash, now exact)")


@ENGINES
def test_an_interrupted_run_leaves_the_stored_split(engine: str) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with mapping_of(engine, [{"key": f"k{i}"} for i in range(30)]) as mapping:
        assign_splits(mapping, seed=1, shares=HALF)
        before = assigned(mapping)
        with pytest.raises(KeyboardInterrupt):
            assign_splits(mapping, seed=2, shares=HALF, progress=interrupt)
        assert assigned(mapping) == before
        assign_splits(mapping, seed=2, shares=HALF)
        assert assigned(mapping) != before


@ENGINES
def test_a_dry_run_stores_nothing(engine: str, tmp_path: Path) -> None:
    unwanted = tmp_path / "unwanted.txt"
    unwanted.write_text("k1\n")
    with mapping_of(engine, [{"key": f"k{i}"} for i in range(30)]) as mapping:
        report = assign_splits(mapping, seed=1, shares=HALF, exclude=[unwanted], dry_run=True)
        stored = [mapping.rows(f"SELECT count(*) FROM {table}") for table in ("splits", "split_runs", "exclusions")]
    assert sum(count.images for count in report.splits) == 29
    assert stored == [[(0,)]] * 3


@ENGINES
def test_copies_under_different_labels_are_counted(engine: str) -> None:
    records = [
        {"key": f"k{i}", "content_hash": f"c{i // 2}", "label": "ab"[i % 2] if i < 4 else "a"} for i in range(40)
    ]
    with mapping_of(engine, records) as mapping:
        report = assign_splits(mapping, seed=1, shares=HALF)
        listed = mapping.rows(mapping.query("list_group_label_conflicts"))
    assert (report.conflicts, report.conflict_images) == (2, 4)
    assert [row[2] for row in listed] == ["k0", "k1", "k2", "k3"]


EXCLUDABLE = [
    {"key": "aa", "path": "birds/1.jpg", "content_hash": "0" * 32, "species": "Ara macao", "genus": "Ara"},
    {"key": "bb", "path": "birds/2.jpg", "content_hash": "1" * 32, "species": "Ara ararauna", "genus": "Ara"},
    {"key": "cc", "path": "fish/1.jpg", "content_hash": "2" * 32, "label": "fish"},
    {"key": "dd", "path": "fish/3.jpg", "content_hash": "3" * 32, "label": "fish"},
    *({"key": f"k{i}", "path": f"rest/k{i}.jpg", "content_hash": f"r{i}"} for i in range(30)),
]


@ENGINES
@pytest.mark.parametrize(
    ("name", "text", "excluded"),
    [
        ("keys.txt", "# a comment\naa\n\n", {"aa"}),
        ("paths.txt", "fish/1.jpg\n", {"cc"}),
        ("rooted.txt", "/data/photos/fish/1.jpg\n", {"cc"}),
        ("names.txt", "/elsewhere/1.jpg\n", {"aa", "cc"}),
        ("hashes.txt", "2" * 64 + "\n", {"cc"}),
        ("taxa.txt", "Ara\n", {"aa", "bb"}),
        ("labels.csv", "label,reason\nfish,wrong\n", {"cc", "dd"}),
        ("first.csv", "species,key,reason\nAra macao,bb,\n", {"bb"}),
        ("tabs.tsv", "species\tnote\nAra macao\tx\n", {"aa"}),
        ("list.json", '["aa", "fish/3.jpg"]', {"aa", "dd"}),
        ("object.json", '{"seen": ["aa"], "unseen": ["Ara ararauna"]}', {"aa", "bb"}),
    ],
)
def test_an_exclusion_list_keeps_its_records_out(
    engine: str, name: str, text: str, excluded: set[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with mapping_of(engine, EXCLUDABLE) as mapping:
        mapping.execute(
            "INSERT INTO sources (name, kind, root, options, scanned_at, tool_version)"
            " VALUES ('s', 'folder', '/data/photos', '{}', '', '')"
        )
        report = assign_splits(mapping, seed=1, shares=HALF, exclude=[path])
        assert set(assigned(mapping)) == {record["key"] for record in EXCLUDABLE} - excluded
        assert not [result for result in check_mapping(mapping) if result.rows]
    assert report.unmatched == {}
    assert sum(count.images for count in report.exclusions) == len(excluded)


@ENGINES
def test_exclusions_are_counted_by_list_and_reason_and_what_matches_nothing_is_named(
    engine: str, tmp_path: Path
) -> None:
    rare = tmp_path / "rare.csv"
    rare.write_text("key,species,reason\naa,,test set\n,Ara ararauna,test set\nzz,,\n,Pongo abelii,test set\n")
    nothing = tmp_path / "nothing.txt"
    nothing.write_text("a typing mistake\n")
    with mapping_of(engine, EXCLUDABLE) as mapping:
        report = assign_splits(mapping, seed=1, shares=HALF, exclude=[rare, nothing])
    counted = [(count.list, count.reason, count.entries, count.images) for count in report.exclusions]
    assert counted == [("nothing", None, 1, 0), ("rare", None, 1, 0), ("rare", "test set", 3, 2)]
    assert report.unmatched == {"rare": ["zz", "Pongo abelii"], "nothing": ["a typing mistake"]}


@ENGINES
def test_a_list_stays_in_force_until_a_file_of_its_name_replaces_it(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "unwanted.txt"
    path.write_text("Ara\n")
    with mapping_of(engine, EXCLUDABLE) as mapping:
        assign_splits(mapping, seed=1, shares=HALF, exclude=[path])
        insert_images(mapping, [{"key": "ee", "genus": "Ara"}])
        later = assign_splits(mapping, seed=1, shares=HALF)
        assert {"aa", "bb", "ee"}.isdisjoint(assigned(mapping))
        path.write_text("cc\n")
        replaced = assign_splits(mapping, seed=1, shares=HALF, exclude=[path])
        assert {"aa", "bb", "ee"} <= set(assigned(mapping))
        assert "cc" not in assigned(mapping)
    assert [(count.entries, count.images) for count in later.exclusions] == [(None, 3)]
    assert later.moves is not None
    assert not later.moves.changed
    assert replaced.moves is not None
    assert replaced.moves.causes == ("other exclusions",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.json", '{"a": "b"}', "object of such lists"),
        ("list.json", "[", "not JSON"),
        ("list.csv", "note\nx\n", "the header names none of"),
        ("latin.txt", b"\xe9\n", "not UTF-8 .*save the exclusion list as UTF-8"),
    ],
)
def test_a_malformed_exclusion_list_is_a_usage_error(
    name: str, text: str | bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with mapping_of("sqlite", EXCLUDABLE) as mapping, pytest.raises(UsageError, match=message):
        assign_splits(mapping, seed=1, shares=HALF, exclude=[path])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"rule": "hash", "stratify": "species"}, "does not go with stratifying by species"),
        ({"stratify": "colour"}, "'colour' is not a column"),
        ({"stratify": "metadata"}, "'metadata' is not a column"),
        ({"group_by": "metadata"}, "'metadata' is not a column"),
        ({"group_by": "key; DROP TABLE images"}, "is not a column"),
        ({"shares": {}}, "no split"),
        ({"shares": {"validation": Fraction(0)}}, "between 0% and 100%"),
        ({"shares": {"validation": Fraction(1, 2), "test": Fraction(1, 2)}}, "together take 100%"),
        ({"shares": {"validation": Fraction(1, 3**20)}}, "too many digits"),
        ({"shares": {"validation": Fraction(1, 10**8 + 1)}}, "too many digits"),
        *[
            ({"subsets": {name: Fraction(1, 2)}}, f"'{name}' cannot name a subset")
            for name in ("train", "validation", "test", "training", "validation_unseen", "test_unseen", "key_unseen")
        ],
        ({"subsets": {"other_heldout": Fraction(1, 2)}}, "cannot name a subset"),
        ({"subsets": {"pretrain": Fraction(1, 2)}}, "cannot name a subset"),
        ({"subsets": {"a-b": Fraction(1, 2)}}, "cannot name a subset"),
        ({"subsets": {"A b": Fraction(1, 2)}}, "cannot name a subset"),
        ({"subsets": {"a": Fraction(1, 2), "b": Fraction(1, 2)}}, "the same share"),
        ({"seed": 2**63}, "out of range"),
        ({"seed": -(2**63) - 1}, "out of range"),
    ],
)
def test_a_contradictory_request_is_a_usage_error(request_: dict[str, Any], message: str) -> None:
    with mapping_of("sqlite", [{"key": "a"}]) as mapping, pytest.raises(UsageError, match=message):
        assign_splits(mapping, **{"seed": 1, **request_})


@ENGINES
def test_an_empty_split_names_the_other_rules(engine: str) -> None:
    with mapping_of(engine, [{"key": f"k{i}"} for i in range(5)]) as mapping:
        with pytest.raises(SplitError, match=r"validation would be empty with 5% .* --rule exact or --stratify"):
            assign_splits(mapping, seed=1)
        assign_splits(mapping, seed=1, shares=HALF, rule="exact")
        assert len(assigned(mapping)) == 5


def test_a_mapping_without_usable_records_cannot_be_split() -> None:
    unusable = [{"key": "a", "reason": "corrupt"}]
    with mapping_of("duckdb", unusable) as mapping, pytest.raises(SplitError, match="no usable record"):
        assign_splits(mapping, seed=1)


@pytest.mark.parametrize(
    "request_", [{"seed": 2**63 - 1}, {"seed": -(2**63)}, {"shares": {"test": Fraction(1, 10**8)}}]
)
def test_numbers_at_their_bounds_are_taken(request_: dict[str, Any]) -> None:
    with mapping_of("sqlite", [{"key": "a"}]) as mapping, pytest.raises(SplitError, match="would be empty"):
        assign_splits(mapping, **{"seed": 1, **request_})
