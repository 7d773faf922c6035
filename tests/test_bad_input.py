"""A folder with everything that can be wrong with images and their names, through all four commands."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import duckdb
import pytest
from PIL import Image
from pipeline import prepare, run, write

GOOD = {
    "wrong extension.png": "jpeg",
    "cmyk.jpg": "cmyk",
    "sixteen.png": "sixteen",
    "palette.png": "palette",
    "grey alpha.png": "grey alpha",
    "animated.gif": "gif",
    "animated.webp": "webp animation",
    "two pictures.mpo": "mpo",
    "very wide.png": "wide",
    "new\nline.jpg": "jpeg 2",
    "emoji 🦋.jpg": "jpeg 3",
    "back\\slash.jpg": "jpeg 4",
    **{f"exif {turn}.jpg": f"exif {turn}" for turn in range(1, 9)},
}
BAD = {
    "empty.jpg": ("empty_file", b""),
    "text.jpg": ("not_an_image", b"these are words"),
    "torn.jpg": ("truncated", "jpeg"),
    "torn.png": ("truncated", "png"),
    "torn.webp": ("truncated", "webp"),
    "bomb.png": ("too_many_pixels", "bomb"),
}


def picture(photos: Path) -> Image.Image:
    with Image.open(photos / "Ara_macao_1.webp") as image:
        return image.convert("RGB").resize((80, 60))


def encode(image: Image.Image, kind: str) -> bytes:
    """Return the bytes of one awkward image."""
    output = io.BytesIO()
    if kind.startswith("jpeg"):
        image.rotate(10 * int(kind.removeprefix("jpeg") or 1)).save(output, "JPEG")
    elif kind == "cmyk":
        image.convert("CMYK").save(output, "JPEG")
    elif kind == "sixteen":
        Image.new("I;16", (70, 70), 40_000).save(output, "PNG")
    elif kind == "palette":
        image.convert("P").save(output, "PNG", transparency=0)
    elif kind == "grey alpha":
        image.convert("LA").save(output, "PNG")
    elif kind in ("gif", "webp animation", "mpo"):
        name = {"gif": "GIF", "webp animation": "WEBP", "mpo": "MPO"}[kind]
        image.save(output, name, save_all=True, append_images=[image.rotate(90)])
    elif kind == "wide":
        Image.new("RGB", (30_000, 20), "green").save(output, "PNG")
    elif kind == "bomb":
        Image.new("1", (30_000, 30_000)).save(output, "PNG")
    elif kind.startswith("exif"):
        exif = Image.Exif()
        exif[0x0112] = int(kind.split()[1])
        image.rotate(int(kind.split()[1])).save(output, "JPEG", exif=exif)
    else:
        image.save(output, kind.upper())
    return output.getvalue()


@pytest.fixture
def awkward(tmp_path: Path, photos: Path) -> Path:
    """A folder of one class with all of `GOOD` and `BAD`, and some names and links that are no images."""
    image = picture(photos)
    folder = tmp_path / "images" / "things"
    folder.mkdir(parents=True)
    for name, kind in GOOD.items():
        (folder / name).write_bytes(encode(image, kind))
    for name, (reason, kind) in BAD.items():
        data = kind if isinstance(kind, bytes) else encode(image, kind)
        (folder / name).write_bytes(data[: len(data) * 2 // 3] if reason == "truncated" else data)
    with open(os.fsencode(folder) + b"/latin-\xe9.jpg", "wb") as file:
        file.write(encode(image, "jpeg 5"))
    (folder / "broken link.jpg").symlink_to("nowhere.jpg")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.jpg")
    return tmp_path / "images"


@pytest.mark.parametrize("codec", ["fast", "pillow"])
def test_every_awkward_file_has_its_outcome(tmp_path: Path, awkward: Path, codec: str) -> None:
    db = prepare(tmp_path, f"awkward=folder:{awkward}", "--rule", "exact", "--val-split", 20)
    out = tmp_path / "shards"
    report = json.loads(write(db, out, "--codec", codec, "--json").stdout)
    with duckdb.connect(str(db), read_only=True) as connection:
        rows = connection.sql("SELECT i.path, o.reason FROM outcomes AS o JOIN images AS i USING (key)").fetchall()
    outcomes = {path.removeprefix("things/"): reason for path, reason in rows}
    expected = {name.replace("\\", "\\\\"): "ok" for name in GOOD} | {name: reason for name, (reason, _) in BAD.items()}
    expected |= {"latin-\\xe9.jpg": "ok", "broken link.jpg": "broken_link", "pipe.jpg": "unreadable"}
    assert outcomes == expected
    assert report["outcomes"]["ok"] == len(GOOD) + 1
    run("verify", out, "--db", db, "--level", "decode", "--workers", 0)


def test_orientation_is_applied_and_pixels_are_rgb(tmp_path: Path, awkward: Path) -> None:
    db = prepare(tmp_path, f"awkward=folder:{awkward}", "--rule", "exact", "--val-split", 20)
    out = tmp_path / "shards"
    run("write", "--db", db, "--out", out, "--workers", 0)
    sizes = {}
    for shard in out.glob("*/*.tar"):
        with tarfile.open(shard) as tar:
            for name in tar.getnames():
                data = tar.extractfile(name).read()
                if name.endswith(".jpg"):
                    with Image.open(io.BytesIO(data)) as image:
                        assert image.mode == "RGB"
                        size = image.size
                elif name.endswith(".json"):
                    sizes[json.loads(data)["path"].removeprefix("things/")] = size
    assert {sizes[f"exif {turn}.jpg"] for turn in (1, 2, 3, 4)} == {(80, 60)}
    assert {sizes[f"exif {turn}.jpg"] for turn in (5, 6, 7, 8)} == {(60, 80)}
    assert sizes["very wide.png"] == (30_000, 20)


def test_duplicates_with_different_labels_stay_together_and_are_reported(tmp_path: Path, image_tree: Path) -> None:
    (image_tree / "fish" / "bird.jpg").write_bytes((image_tree / "birds" / "0.jpg").read_bytes())
    db = tmp_path / "mapping.duckdb"
    run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    result = run("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 30)
    assert "1 content occurs under several labels" in result.stderr
    with duckdb.connect(str(db), read_only=True) as connection:
        rows = connection.sql(
            "SELECT count(DISTINCT s.split) FROM splits AS s JOIN images AS i USING (key) "
            "WHERE i.path IN ('fish/bird.jpg', 'birds/0.jpg')"
        ).fetchall()
    assert rows == [(1,)]


def test_two_sources_with_equal_file_names(tmp_path: Path, image_tree: Path) -> None:
    db = tmp_path / "mapping.duckdb"
    sources = ("--source", f"one=folder:{image_tree}", "--source", f"two=folder:{image_tree}")
    run("map", "--db", db, *sources, "--workers", 0)
    run("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 30)
    report = json.loads(write(db, tmp_path / "shards", "--json").stdout)
    assert report["outcomes"] == {"ok": 24}


def test_a_class_with_one_image_stays_in_training(tmp_path: Path, image_tree: Path) -> None:
    for path in sorted((image_tree / "birds").iterdir())[1:]:
        path.unlink()
    db = prepare(tmp_path, f"tree=folder:{image_tree}", "--stratify", "label", "--val-split", 30)
    with duckdb.connect(str(db), read_only=True) as connection:
        rows = connection.sql(
            "SELECT s.split FROM splits AS s JOIN images AS i USING (key) WHERE i.label = 'birds'"
        ).fetchall()
    assert rows == [("train",)]
