"""`shardforge leaks`: a mapping against other data on disk."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from pipeline import prepare, run, write


@pytest.fixture(params=["duckdb", "sqlite"])
def db(request: pytest.FixtureRequest, image_tree: Path, tmp_path: Path) -> Path:
    path = tmp_path / f"mapping.{request.param}"
    run("map", "--db", path, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    run("split", "--db", path, "--seed", 17, "--val-split", 30, "--rule", "exact")
    return path


@pytest.fixture
def benchmark_folder(image_tree: Path, tmp_path: Path) -> Path:
    """Return a test set: an image of the tree as it is, one resized, one of its own; and what is no image."""
    folder = tmp_path / "benchmark" / "test"
    folder.mkdir(parents=True)
    (folder / "same.jpg").write_bytes((image_tree / "birds" / "0.jpg").read_bytes())
    with Image.open(image_tree / "fish" / "1.jpg") as image:
        image.resize((64, 64)).save(folder / "small.png")
    with Image.open(image_tree / "mammals" / "2.jpg") as image:
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(folder / "own.jpg")
    Image.new("RGB", (50, 50), "teal").save(folder / "teal.png")
    (folder / "cut.jpg").write_bytes((image_tree / "fish" / "0.jpg").read_bytes()[:-400])
    (folder / "labels.csv").write_text("file,label\n")
    return folder.parent


def leaks(db: Path, *against: object, code: int = 1) -> list[dict]:
    places = [argument for place in against for argument in ("--against", place)]
    return json.loads(run("leaks", "--db", db, *places, "--workers", 0, "--json", code=code).stdout)["against"]


def test_exact_and_near_leaks_are_found_and_what_cannot_be_read_is_counted(db: Path, benchmark_folder: Path) -> None:
    [found] = leaks(db, benchmark_folder)
    assert (found["exact"], found["near"], found["leaking_images"]) == (1, 1, 2)
    assert (found["images"], found["low_quality"]) == (5, 1)
    assert found["failed"] == {"not_an_image": 1, "truncated": 1}


def test_what_leaks_can_be_excluded_as_reported(db: Path, benchmark_folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "leaks"
    result = run("leaks", "--db", db, "--against", benchmark_folder, "--workers", 0, "--report", report, code=1)
    assert "1 file not compared, truncated: the image data ends too early" in result.stderr
    rows = list(csv.DictReader((report / "leaks.csv").read_text().splitlines()))
    assert [(row["kind"], row["image"], row["against_image"]) for row in rows] == [
        ("exact", "tree:birds/0.jpg", "test/same.jpg"),
        ("near", "tree:fish/1.jpg", "test/small.png"),
    ]
    assert all(row["image_split"] in ("train", "validation") for row in rows)
    with Image.open(report / "leaks.png") as sheet:
        assert sheet.width > 1000
    run("split", "--db", db, "--seed", 17, "--val-split", 30, "--rule", "exact", "--exclude", report / "leaks.csv")
    [found] = leaks(db, benchmark_folder, code=0)
    assert (found["leaking_images"], found["excluded_images"]) == (0, 2)


def test_a_list_of_leaks_made_again_lets_nothing_back_in(db: Path, benchmark_folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "leaks"
    for code in (1, 0, 0):
        run("leaks", "--db", db, "--against", benchmark_folder, "--workers", 0, "--report", report, code=code)
        options = ("--val-split", 30, "--rule", "exact", "--exclude", report / "leaks.csv")
        run("split", "--db", db, "--seed", 17, *options)


def test_the_table_fits_a_terminal_and_no_sheet_is_named_without_pairs(
    db: Path, benchmark_folder: Path, photos: Path, tmp_path: Path
) -> None:
    deep = tmp_path / ("a_long_name_" * 10)
    benchmark_folder.rename(deep)
    printed = run("leaks", "--db", db, "--against", deep, "--workers", 0, code=1).stdout
    assert max(map(len, printed.splitlines())) <= 100
    other = tmp_path / "other"
    other.mkdir()
    (other / "bison.webp").write_bytes((photos / "Bison_bison_1.webp").read_bytes())
    clean = run("leaks", "--db", db, "--against", other, "--report", tmp_path / "report", "--workers", 0)
    assert "leaks.csv (for split --exclude)\n" in clean.stderr
    assert not (tmp_path / "report" / "leaks.png").exists()


def test_data_that_shares_nothing_is_clean(db: Path, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "bison.webp").write_bytes((photos / "Bison_bison_1.webp").read_bytes())
    [found] = leaks(db, other, code=0)
    assert (found["images"], found["exact"], found["near"]) == (1, 0, 0)


def test_a_written_dataset_leaks_by_folder_manifest_and_pattern(db: Path, image_tree: Path, tmp_path: Path) -> None:
    """Its images are encoded anew, at another size: only their pictures are known again."""
    (tmp_path / "other").mkdir()
    out = tmp_path / "shards"
    write(prepare(tmp_path / "other", f"copy=folder:{image_tree}"), out)
    pattern = str(out / "train" / "*-{000000..000000}.tar").replace("*", next(out.glob("train/*.tar")).name[:-11])
    by_folder, by_manifest, by_pattern = leaks(db, out, out / "_info.json", pattern)
    assert by_folder["images"] == by_manifest["images"] == 12
    assert by_folder["near"] == by_manifest["near"] == 12
    assert by_pattern["images"] == by_pattern["near"] > 0
    assert by_folder["exact"] == 0


def test_a_folder_may_hold_images_and_tars(db: Path, benchmark_folder: Path, image_tree: Path) -> None:
    with tarfile.open(benchmark_folder / "more.tar", "w") as tar:
        tar.add(image_tree / "birds" / "1.jpg", "0001.jpg")
    [found] = leaks(db, benchmark_folder)
    assert (found["images"], found["exact"]) == (6, 2)


def test_a_damaged_tar_is_counted(db: Path, image_tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("birds/1.jpg", "birds/2.jpg"):
            tar.add(image_tree / name, name.replace("/", "_"))
    path.write_bytes(path.read_bytes()[: (image_tree / "birds" / "1.jpg").stat().st_size + 2048])
    [found] = leaks(db, path)
    assert (found["images"], found["exact"], found["failed"]) == (1, 1, {"truncated": 1})


@pytest.mark.parametrize(
    ("place", "message", "code"),
    [
        ("missing", "no folder, tar or _info.json", 2),
        ("missing/_info.json", "no folder, tar or _info.json", 2),
        ("empty", "no image could be read there (no file at all)", 1),
        ("words", "no image could be read there (1 not_an_image)", 1),
    ],
)
def test_a_place_without_images_is_an_error(db: Path, tmp_path: Path, place: str, message: str, code: int) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "readme.txt").write_text("none")
    result = run("leaks", "--db", db, "--against", tmp_path / place, "--workers", 0, code=code)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_cached_picture_of_several_places_names_the_nearest(db: Path, image_tree: Path, tmp_path: Path) -> None:
    other, report = tmp_path / "other", tmp_path / "report"
    other.mkdir()
    with Image.open(image_tree / "birds" / "0.jpg") as image:
        image.save(other / "b_same_pixels.png")
        image.resize((40, 40)).save(other / "a_small.jpg", quality=30)
    run("leaks", "--db", db, "--against", other, "--workers", 0, "--report", report, code=1)
    [row] = csv.DictReader((report / "leaks.csv").read_text().splitlines())
    assert (row["against_image"], row["distance"], row["kind"]) == ("b_same_pixels.png", "0", "near")
