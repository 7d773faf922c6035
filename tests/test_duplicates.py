"""Duplicates in a mapping: hashes, the search among them, clusters, the split that keeps them together, the report."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hostile import HostileExecutor, make_hostile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from pipeline import run

from shardforge.duplicates import MAX_DISTANCE, MIN_QUALITY, search
from shardforge.duplicates.bands import WORDS, Hashes, measure_distances
from shardforge.duplicates.hashing import hash_image
from shardforge.duplicates.search import find_nearest, link_hashes, list_pairs
from shardforge.duplicates.sheet import caption
from shardforge.duplicates.store import count_unsearched, hash_contents, parse_hashes
from shardforge.errors import UsageError
from shardforge.mapping import open_mapping


def encode(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def flip_bits(hashes: Hashes, most: int, random: np.random.Generator) -> Hashes:
    flipped = hashes.copy()
    for one in flipped:
        for bit in random.choice(256, random.integers(most + 1), replace=False):
            one[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    return flipped


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Hashes, int]:
    """Hashes around a few centres, at distances on both sides of the one that is asked for."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    distance = draw(st.integers(0, MAX_DISTANCE))
    centres = random.integers(0, 2**64, (draw(st.integers(1, 6)), WORDS), dtype=np.uint64)
    copies = np.repeat(centres, draw(st.integers(1, 20)), axis=0)
    return flip_bits(copies, draw(st.integers(0, 40)), random), distance


def near_by_brute_force(hashes: Hashes, distance: int) -> dict[tuple[int, int], int]:
    apart = {
        (i, j): int(measure_distances(hashes[i : i + 1], hashes[j : j + 1])[0])
        for i, j in combinations(range(len(hashes)), 2)
    }
    return {pair: bits for pair, bits in apart.items() if bits <= distance}


def components(nodes: int, pairs: list[tuple[int, int]]) -> list[int]:
    roots = list(range(nodes))
    for left, right in pairs:
        old, new = max(roots[left], roots[right]), min(roots[left], roots[right])
        roots = [new if root == old else root for root in roots]
    return roots


@settings(deadline=None, max_examples=60)
@given(crowds())
def test_the_search_finds_every_near_pair_and_no_other(given_hashes: tuple[Hashes, int]) -> None:
    hashes, distance = given_hashes
    near = near_by_brute_force(hashes, distance)
    roots = link_hashes(hashes, distance)
    assert roots.tolist() == components(len(hashes), list(near))
    listed = [zip(*(side.tolist() for side in chunk), strict=True) for chunk in list_pairs(hashes, roots, distance)]
    assert sorted(row for chunk in listed for row in chunk) == sorted((i, j, bits) for (i, j), bits in near.items())


@settings(deadline=None, max_examples=40)
@given(crowds(), st.integers(0, 10))
def test_the_nearest_of_others_is_the_nearest(given_hashes: tuple[Hashes, int], kept: int) -> None:
    hashes, distance = given_hashes
    others, hashes = hashes[:kept], hashes[kept:]
    nearest, apart, met = find_nearest(hashes, others, distance)
    reached = set()
    for i, one in enumerate(hashes):
        bits = [int(measure_distances(one[None], other[None])[0]) for other in others]
        reached |= {j for j, b in enumerate(bits) if b <= distance}
        best = min(bits, default=distance + 1)
        expected = (bits.index(best), best) if best <= distance else (-1, -1)
        assert (nearest[i], apart[i]) == expected
    assert set(np.flatnonzero(met).tolist()) == reached


def test_a_crowd_is_connected_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits that hold memory down for millions of hashes change no cluster."""
    random = np.random.default_rng(1)
    scene = random.integers(0, 2**64, (1, WORDS), dtype=np.uint64)
    others = random.integers(0, 2**64, (200, WORDS), dtype=np.uint64)
    hashes = np.concatenate([others, flip_bits(np.repeat(scene, 300, axis=0), 8, random)])
    for name, value in (("_CHUNK", 64), ("_MOST_EDGES", 100), ("_CROWD", 20), ("_FEW", 2)):
        monkeypatch.setattr(search, name, value)
    assert link_hashes(hashes, 20).tolist() == [*range(200), *[200] * 300]


def test_a_large_cluster_lists_the_pairs_of_its_first_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LISTED_PER_CLUSTER", 2)
    hashes = flip_bits(np.zeros((5, WORDS), np.uint64), 4, np.random.default_rng(2))
    roots = link_hashes(hashes, 20)
    pairs = [(i, j) for left, right, _ in list_pairs(hashes, roots, 20) for i, j in zip(left, right, strict=True)]
    assert sorted(pairs) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)]


@pytest.mark.parametrize("distance", [-1, MAX_DISTANCE + 1])
def test_a_distance_out_of_range_is_refused(distance: int) -> None:
    with pytest.raises(UsageError, match="give a number of bits from 0 to 31"):
        link_hashes(np.zeros((1, WORDS), np.uint64), distance)


def test_altered_copies_have_near_hashes_and_other_photos_have_not(photos: Path) -> None:
    with Image.open(photos / "Ara_macao_1.webp") as image:
        photo = image.convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    altered = [
        encode(photo.resize((150, 150)), quality=60),
        encode(ImageEnhance.Brightness(photo).enhance(0.8), "PNG"),
        encode(photo.transpose(Image.Transpose.ROTATE_90), exif=turned),
        (photos / "Bison_bison_1.webp").read_bytes(),
    ]
    texts = [hash_image(data)[0] for data in [encode(photo), *altered]]
    hashes = parse_hashes(pa.chunked_array([texts]))
    *near, far = measure_distances(hashes[:1].repeat(4, axis=0), hashes[1:])
    assert max(near) <= 8
    assert far > 80


def test_pictures_of_one_colour_have_no_quality(photos: Path) -> None:
    assert hash_image(encode(Image.new("RGB", (80, 60), "teal")))[1] < MIN_QUALITY
    assert hash_image((photos / "Bison_bison_1.webp").read_bytes())[1] == 100


@pytest.fixture(params=["duckdb", "sqlite"])
def db(request: pytest.FixtureRequest, image_tree: Path, tmp_path: Path) -> Path:
    """Return a mapping of the twelve images, of small copies of three, and of one of one colour and one cut short."""
    copies = tmp_path / "copies"
    copies.mkdir()
    for path in sorted(image_tree.glob("birds/*.jpg")):
        with Image.open(path) as image:
            image.resize((70, 50)).save(copies / f"{path.stem}.jpg", quality=85)
    (copies / "same.jpg").write_bytes((image_tree / "fish" / "0.jpg").read_bytes())
    Image.new("RGB", (90, 60), "teal").save(copies / "teal.png")
    (copies / "cut.jpg").write_bytes((image_tree / "fish" / "1.jpg").read_bytes()[:-400])
    path = tmp_path / f"mapping.{request.param}"
    sources = ["--source", f"tree=folder:{image_tree}", "--source", f"copies=folder:{copies}"]
    run("map", "--db", path, *sources, "--option", "copies.label=none", "--workers", 0)
    return path


def duplicates(db: Path, *options: object) -> dict:
    return json.loads(run("duplicates", "--db", db, "--workers", 0, "--json", *options).stdout)


def test_duplicates_are_counted_by_kind_and_by_what_they_cross(db: Path) -> None:
    report = duplicates(db)
    exact, near = report["kinds"]
    assert (exact["clusters"], exact["images"], exact["across_sources"]) == (1, 2, 1)
    assert (near["clusters"], near["images"], near["extra_images"], near["across_sources"]) == (3, 6, 3, 3)
    assert report["unsearched"] == {"low_quality": 1, "truncated": 1}
    assert report["hashing"] == {"hashed": 16, "failed": {"truncated": 1}}
    assert len(report["largest"]) == 4


def test_each_content_is_hashed_once_and_forgotten_with_its_image(db: Path, image_tree: Path) -> None:
    duplicates(db)
    assert duplicates(db)["hashing"] == {"hashed": 0, "failed": {}}
    (image_tree / "birds" / "0.jpg").write_bytes((image_tree / "mammals" / "3.png").read_bytes())
    run("map", "--db", db, "--workers", 0)
    report = duplicates(db)
    assert report["hashing"]["hashed"] == 0
    assert [kind["clusters"] for kind in report["kinds"]] == [2, 2]
    with open_mapping(db) as mapping:
        assert mapping.rows("SELECT count(*) FROM perceptual_hashes") == [(16,)]


def test_a_vanished_file_is_counted_and_tried_again(db: Path, image_tree: Path) -> None:
    photo = image_tree / "birds" / "1.jpg"
    data, times = photo.read_bytes(), photo.stat()
    photo.unlink()
    result = run("duplicates", "--db", db, "--workers", 0)
    assert "1 image of the mapping was not compared by picture, not_hashed" in result.stderr
    photo.write_bytes(data)
    os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert duplicates(db)["hashing"] == {"hashed": 1, "failed": {}}


def test_a_split_by_near_duplicates_tears_no_cluster(db: Path) -> None:
    refused = run("split", "--db", db, "--seed", 17, "--group-near-duplicates", code=1)
    assert "run `shardforge duplicates --db" in refused.stderr
    for seed in range(8):
        run("split", "--db", db, "--seed", seed, "--val-split", 40, "--rule", "exact", "--name", f"apart{seed}")
    duplicates(db)
    with open_mapping(db) as mapping:
        torn = mapping.rows(mapping.query("leakage_by_near_duplicates"))
    assert torn, "no seed tears a cluster: the test says nothing"
    for seed in range(8):
        options = ("--val-split", 40, "--rule", "exact", "--name", f"apart{seed}", "--group-near-duplicates")
        run("split", "--db", db, "--seed", seed, *options)
    with open_mapping(db) as mapping:
        assert mapping.rows(mapping.query("leakage_by_near_duplicates")) == []


def test_grouping_near_duplicates_moves_only_their_images(db: Path) -> None:
    duplicates(db)
    run("split", "--db", db, "--seed", 17, "--val-split", 40)
    with open_mapping(db) as mapping:
        before = dict(mapping.rows("SELECT key, 'content:' || content_hash FROM images"))
        near = {
            key
            for (key,) in mapping.rows(
                "SELECT i.key FROM images AS i JOIN near_duplicates AS n ON "
                "n.content_hash = i.content_hash WHERE n.cluster <> n.content_hash"
            )
        }
    run("split", "--db", db, "--seed", 17, "--val-split", 40, "--group-near-duplicates")
    with open_mapping(db) as mapping:
        after = dict(mapping.rows("SELECT key, group_id FROM splits"))
    assert {key for key in before if before[key] != after[key]} == near


def test_near_duplicates_and_a_grouping_column_are_merged(db: Path, image_tree: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("path,group_id\nbirds/0.jpg,nest\nfish/2.jpg,nest\n")
    run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--metadata", table, "--on", "path", "--workers", 0)
    duplicates(db)
    run("split", "--db", db, "--seed", 1, "--val-split", 40, "--group-by", "group_id", "--group-near-duplicates")
    with open_mapping(db) as mapping:
        paths = mapping.rows(
            "SELECT i.source || ':' || i.path FROM splits AS s JOIN images AS i ON i.key = s.key "
            "WHERE s.group_id = 'group_id:nest' ORDER BY 1"
        )
    assert [path for (path,) in paths] == ["copies:0.jpg", "tree:birds/0.jpg", "tree:fish/2.jpg"]


def test_a_split_refuses_images_that_were_mapped_after_the_search(db: Path, image_tree: Path) -> None:
    duplicates(db)
    Image.effect_noise((64, 64), 80).save(image_tree / "fish" / "new.png")
    run("map", "--db", db, "--workers", 0)
    refused = run("split", "--db", db, "--seed", 17, "--group-near-duplicates", code=1)
    assert "1 usable images were not compared" in refused.stderr


def test_the_report_lists_every_pair_and_draws_the_worst(db: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    run("split", "--db", db, "--seed", 17, "--val-split", 40, "--rule", "exact")
    assert duplicates(db, "--report", folder)["pairs"] == 4
    rows = list(csv.DictReader((folder / "pairs.csv").read_text().splitlines()))
    assert [row["kind"] for row in rows] == ["exact", "near", "near", "near"]
    near = {frozenset((row["image"], row["other_image"])) for row in rows[1:]}
    assert near == {frozenset((f"copies:{i}.jpg", f"tree:birds/{i}.jpg")) for i in range(3)}
    assert all(int(row["distance"]) <= 20 and row["split"] and row["other_split"] for row in rows)
    with Image.open(folder / "pairs.png") as sheet:
        assert sheet.width > 1000
        assert len(sheet.convert("L").resize((60, 60)).getcolors()) > 50


def test_captions_have_one_line_of_letters_that_can_be_drawn() -> None:
    assert caption("photos:Möwe/a\nb 花.jpg", "Möwe", "train") == (
        "photos:Mowe/a\\nb \\u82b1.jpg",
        "label Mowe; split train",
    )


def test_splits_are_counted_where_there_are_some(db: Path) -> None:
    assert {kind["across_splits"] for kind in duplicates(db)["kinds"]} == {None}
    printed = run("duplicates", "--db", db, "--workers", 0).stdout
    assert max(map(len, printed.splitlines())) <= 100
    run("split", "--db", db, "--seed", 17, "--val-split", 40, "--rule", "exact")
    report = duplicates(db)
    assert {type(kind["across_splits"]) for kind in report["kinds"]} == {int}
    assert report["largest"][0]["splits"] in (1, 2)
    assert {cluster["splits"] for cluster in duplicates(db, "--split-run", "other")["largest"]} == {None}


def test_nothing_to_report_is_an_empty_table_and_no_sheet(image_tree: Path, tmp_path: Path) -> None:
    db = tmp_path / "mapping.sqlite"
    run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    stale = tmp_path / "report" / "pairs.png"
    stale.parent.mkdir()
    stale.touch()
    assert duplicates(db, "--report", tmp_path / "report")["pairs"] == 0
    assert not stale.exists(), "an earlier run's"
    said = run("duplicates", "--db", db, "--workers", 0, "--report", tmp_path / "report").stderr
    assert "No two images show the same picture" in said
    assert (tmp_path / "report" / "pairs.csv").read_text().count("\n") == 1


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_workers_give_what_one_process_gives(db: Path, executor: str) -> None:
    duplicates(db)
    with open_mapping(db, write=True) as mapping:
        before = mapping.rows("SELECT * FROM perceptual_hashes ORDER BY content_hash")
        mapping.execute("DELETE FROM perceptual_hashes")
    run("duplicates", "--db", db, "--executor", executor, "--workers", 2)
    with open_mapping(db) as mapping:
        assert mapping.rows("SELECT * FROM perceptual_hashes ORDER BY content_hash") == before


def test_without_its_libraries_the_command_says_what_to_install(db: Path) -> None:
    code = "import sys; sys.modules['imagehash'] = None; from shardforge.__main__ import run; run()"
    command = [sys.executable, "-c", code, "duplicates", "--db", str(db)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert 'pip install "shardforge[duplicates]"' in result.stderr


def test_an_image_that_kills_its_reader_costs_itself_and_is_remembered(tmp_path: Path, image_tree: Path) -> None:
    make_hostile(image_tree / "birds" / "bad.jpg", "segfault")
    db = tmp_path / "mapping.duckdb"
    run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    for failed in ({"reader_killed": 1}, {}):
        with open_mapping(db, write=True) as mapping, HostileExecutor(1) as executor:
            assert hash_contents(mapping, executor).failed == failed
    with open_mapping(db) as mapping:
        assert count_unsearched(mapping, 0) == {"reader_killed": 1}
