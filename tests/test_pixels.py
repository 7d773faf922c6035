"""Pixels through the commands: colours, bits and notes of a folder of odd images."""

from __future__ import annotations

import json
import sqlite3
import struct
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import ADOBE_RGB, PICTURE, chunk, decode, deep_png, encode, jpeg, png
from pipeline import run, write

from shardforge.dataset.options import WriteOptions
from shardforge.images.convert import Conversion

RAMP = np.linspace(0, 4095, 32 * 32).astype(np.uint16).reshape(32, 32, 1)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Return a mapping of six images, four of which there is something to say about."""
    side = bytearray(png())
    side[16:20] = struct.pack(">I", 2**31 + 1)
    side[29:33] = struct.pack(">I", zlib.crc32(side[12:29]))
    files = {
        "adobe.jpg": encode(PICTURE, "JPEG", quality=95, icc_profile=ADOBE_RGB),
        "broken profile.jpg": encode(PICTURE, "JPEG", icc_profile=b"profile" * 30),
        "broken exif.jpg": jpeg((0xE1, b"Exif\0\0garbage")),
        "dark.png": deep_png(RAMP, 0),
        "dark, as it says.png": deep_png(RAMP, 0, chunk(b"sBIT", b"\x0c")),
        "plain.png": png(),
        "side.png": bytes(side),
    }
    (tmp_path / "images").mkdir()
    for name, data in files.items():
        (tmp_path / "images" / name).write_bytes(data)
    db = tmp_path / "mapping.sqlite"
    run("map", "--db", db, "--source", f"odd=folder:{tmp_path / 'images'}", "--workers", 0)
    run("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 20)
    return db


def select(db: Path, sql: str) -> dict[str, Any]:
    with sqlite3.connect(db) as connection:
        rows = dict(connection.execute(sql).fetchall())
    connection.close()
    return rows


def read_images(out: Path) -> dict[str, Any]:
    """Return the pixels of all samples, by the paths of their images."""
    members: dict[str, bytes] = {}
    for shard in out.glob("*/*.tar"):
        with tarfile.open(shard) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    keys = {json.loads(data)["path"]: name for name, data in members.items() if name.endswith(".json")}
    return {path: decode(members[name.replace(".json", ".png")]) for path, name in keys.items()}


def test_what_there_is_to_say_stands_in_the_mapping_and_in_the_report(odd: Path, tmp_path: Path) -> None:
    assert select(odd, "SELECT path, reason FROM images WHERE reason IS NOT NULL") == {"side.png": "too_many_pixels"}
    notes = "SELECT path, note FROM notes JOIN images USING (key) WHERE dataset IS {} NULL"
    found = select(odd, notes.format(""))
    assert found.keys() == {"broken exif.jpg", "side.png"}
    assert found["broken exif.jpg"] == "the EXIF block is damaged"
    result = write(odd, tmp_path / "out", "--format", "png", "--size", 32)
    assert "Warning: 1 image of 16 bits was taken for one of fewer bits" in result.stderr
    found = select(odd, notes.format("NOT"))
    assert found.keys() == {"broken exif.jpg", "broken profile.jpg", "dark.png"}
    assert found["dark.png"] == "16-bit samples up to 4095 taken for 12 bits"
    pixels = read_images(tmp_path / "out")
    assert (pixels["dark.png"] == RAMP >> 4).all()
    assert (pixels["dark, as it says.png"] == RAMP >> 4).all()
    # Once more: what is kept is counted, too.
    report = json.loads(write(odd, tmp_path / "out", "--format", "png", "--size", 32, "--json").stdout)
    assert (report["kept"], report["fewer_bits"]) == (2, 1)


def test_options_decide_what_becomes_of_colours_and_bits(odd: Path, tmp_path: Path) -> None:
    srgb, kept = tmp_path / "srgb", tmp_path / "kept"
    write(odd, srgb, "--format", "png", "--size", 32)
    result = write(odd, kept, "--format", "png", "--size", 32, "--colour", "keep", "--sixteen-bit", "full")
    assert "16 bits" not in result.stderr
    converted, stored = read_images(srgb), read_images(kept)
    assert np.abs(converted["adobe.jpg"] - stored["adobe.jpg"]).max() > 20
    assert (stored["dark.png"] == RAMP >> 8).all()
    assert (converted["plain.png"] == stored["plain.png"]).all()
    options = json.loads((kept / "_info.json").read_text())["shardforge"]["options"]["conversion"]
    assert (options["colour"], options["sixteen_bit"]) == ("keep", "full")


def test_options_of_before_are_those_of_now_by_default() -> None:
    options = WriteOptions("name", Conversion(), label="family")
    before = options.to_json()
    assert not {"colour", "sixteen_bit"} & before["conversion"].keys()
    assert WriteOptions.from_json(before) == options
    kept = replace(options, conversion=Conversion(colour="keep"))
    assert kept.to_json()["conversion"]["colour"] == "keep"
    assert WriteOptions.from_json(kept.to_json()) == kept
