"""What is read back is checked: a flipped bit, a cut or a wrong type in a file of ours is noticed, or harmless."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline import manifest, prepare, run, shard_hashes, write

from shardforge.dataset.layout import Layout
from shardforge.dataset.plan import read_plan, read_planned_rows
from shardforge.dataset.receipt import Receipt, find_receipt, read_receipt
from shardforge.errors import DatasetError, NewerFormError
from shardforge.parquet import ParquetTable, write_parquet

#: The fields of a receipt that 0.1.0 reads; it takes one with any other for none.
FIELDS = ("path", "digest", "sha256", "bytes", "samples", "small", "sizes", "crcs", "bad", "notes")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, image_folder: Path) -> Path:
    """A folder with mapping.duckdb and a dataset of twelve images, one of them bad."""
    folder = tmp_path_factory.mktemp("pristine")
    write(prepare(folder, f"tree=folder:{image_folder}"), folder / "shards", "--shard-samples", 5, "--max-bad", 5)
    run("catalog", folder / "shards")
    return folder


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory, _thumbnails: dict[str, bytes]) -> Path:
    root = tmp_path_factory.mktemp("images")
    for name, data in _thumbnails.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data if name != "fish/0.jpg" else data[:-300])
    return root


@pytest.fixture
def out(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine / "shards", tmp_path / "shards"))


def flips(data: bytes, count: int | None = None) -> Iterator[bytes]:
    """Yield copies of data with one flipped bit each: all of them, or a seeded sample."""
    places = range(8 * len(data))
    for place in places if count is None else np.random.default_rng(17).choice(8 * len(data), count, replace=False):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


def bad_receipt(out: Path) -> Path:
    """Return the receipt of the shard that lacks an image: all its fields say something."""
    return next(place for place in Layout(out).receipts.glob("*.json") if read_receipt(place).bad)  # type: ignore[union-attr]


def test_any_flipped_bit_and_any_cut_of_a_receipt_is_noticed(out: Path) -> None:
    place = bad_receipt(out)
    whole = place.read_bytes()
    assert read_receipt(place) is not None
    for damaged in (*flips(whole), *(whole[:length] for length in range(len(whole))), whole + b" ", whole + b"}"):
        place.write_bytes(damaged)
        assert read_receipt(place) is None


def as_before(receipt: Receipt) -> bytes:
    """Return a receipt as 0.1.0 wrote it."""
    return json.dumps(vars(receipt), ensure_ascii=False).encode()


def test_receipts_of_before_are_read_and_damage_in_them_is_none_or_another_value(out: Path) -> None:
    place = bad_receipt(out)
    receipt = read_receipt(place)
    assert receipt is not None
    whole = as_before(receipt)
    place.write_bytes(whole)
    assert read_receipt(place) == receipt
    for length in range(len(whole)):
        place.write_bytes(whole[:length])
        assert read_receipt(place) is None
    for damaged in flips(whole, 2_000):
        place.write_bytes(damaged)
        found = read_receipt(place)
        assert found is None or (found != receipt and found.path == receipt.path)


def test_a_receipt_that_lost_its_checksum_is_none_of_before(out: Path) -> None:
    place = bad_receipt(out)
    content = json.loads(place.read_bytes())
    del content["notes"]["receipt:sha256"]
    place.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")))
    assert read_receipt(place) is None


def test_a_receipt_is_one_that_0_1_0_reads(out: Path) -> None:
    for place in Layout(out).receipts.glob("*.json"):
        content = json.loads(place.read_bytes())
        assert tuple(content) == FIELDS
        assert all(isinstance(note, str) for note in content["notes"].values())


WRONG: dict[str, list[Any]] = {
    "path": [None, 3, "", "train/x.tar", "../x-train-000000.tar", "train/shards-train-000000.tar\n", ["a"]],
    "digest": [None, 7, "", "0" * 63, "0" * 65, "G" * 64],
    "sha256": [None, 7, "", "0" * 63],
    "bytes": [None, "5", -1, 5.0, True, float("nan"), 1 << 70],
    "samples": [None, "5", -1, 5.0, True, float("inf"), 7],
    "small": [None, -1, True, 1.5, 1_000],
    "sizes": [None, [], {}, {"jpg": 3}, {"jpg": ["a"]}, {"jpg": [True] * 5}, {"jpg": [-2] * 5}, {"jpg": [1.0] * 5}],
    "crcs": [None, [], {}, {"jpg": [1 << 32] * 5}, {"jpg": [-1] * 5}, {"jpg": [None] * 5}],
    "bad": [None, [], {"a": 3}, {"a": None}, "x"],
    "notes": [None, [], {"a": 3}, {"a": ["b"]}, "x"],
}


@pytest.mark.parametrize("form", ["before", "now"])
@pytest.mark.parametrize("name", WRONG)
def test_a_receipt_of_wrong_types_is_none(name: str, form: str, out: Path) -> None:
    place = bad_receipt(out)
    content = json.loads(place.read_bytes())
    content["notes"].pop("receipt:sha256")
    for value in WRONG[name]:
        wrong = content | {name: value}
        if form == "before":
            place.write_text(json.dumps(wrong, ensure_ascii=False))
        else:
            notes = wrong["notes"] | {"receipt:sha256": ""} if isinstance(wrong["notes"], dict) else wrong["notes"]
            body = json.dumps(wrong | {"notes": notes}, separators=(",", ":")).removesuffix('"}}').encode()
            place.write_bytes(body + hashlib.sha256(body).hexdigest().encode() + b'"}}')
        assert read_receipt(place) is None, value


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"3", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b'{"notes": NaN}', b"9" * 9_999],
)
def test_what_is_no_receipt_is_none(content: bytes, out: Path) -> None:
    place = bad_receipt(out)
    place.write_bytes(content)
    assert read_receipt(place) is None


def test_a_receipt_of_a_gigabyte_is_none(out: Path) -> None:
    place = bad_receipt(out)
    os.truncate(place, 1 << 30)
    assert read_receipt(place) is None


def test_a_receipt_of_another_shard_is_none(out: Path) -> None:
    first, second = Layout(out).receipts.glob("*train-00000[01]*.json")
    shutil.copy(first, second)
    assert read_receipt(second) is None
    plan = read_plan(Layout(out).plan)
    shard = next(shard for shard in plan.shards if Layout(out).receipt(shard.path) == first)
    assert find_receipt(Layout(out), shard) is not None
    assert find_receipt(Layout(out), replace(shard, digest="0" * 64)) is None
    assert find_receipt(Layout(out), replace(shard, samples=shard.samples + 1)) is None


def test_fields_of_a_later_release_are_passed_over(out: Path) -> None:
    place = bad_receipt(out)
    content = json.loads(place.read_bytes())
    content["notes"].pop("receipt:sha256")
    content["notes"] |= {"receipt:later": json.dumps({"tried": {"a": 3}}), "receipt:sha256": ""}
    body = json.dumps(content, separators=(",", ":")).removesuffix('"}}').encode()
    before = read_receipt(place)
    place.write_bytes(body + hashlib.sha256(body).hexdigest().encode() + b'"}}')
    assert read_receipt(place) == before


def read_all(place: Path) -> list[Any]:
    """Return all that a plan says."""
    plan = read_plan(place)
    return [plan, *(read_planned_rows(place, shard.row_group) for shard in plan.shards)]


def test_flipped_bits_and_cuts_of_a_plan_are_noticed(out: Path) -> None:
    place = Layout(out).plan
    whole, expected = place.read_bytes(), read_all(place)
    noticed = 0
    lengths = np.random.default_rng(17).choice(len(whole), 60, replace=False)
    for number, damaged in enumerate((*flips(whole, 500), *(whole[:length] for length in lengths))):
        place.write_bytes(damaged)
        os.utime(place, ns=(number, number))  # plans are told apart by their times
        try:
            assert read_all(place) == expected
        except DatasetError:
            noticed += 1
    assert noticed > 400  # headers of pages have parts that nobody reads


def test_a_flipped_bit_in_the_header_of_a_page_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Pages' own checksums leave their headers out."""
    texts = pa.array([None if number % 3 else str(number) for number in range(100)], pa.string())
    table = pa.table({"text": texts, "number": pa.array(range(100), pa.int64())})
    place = tmp_path / "table.parquet"
    with open(place, "wb") as file, write_parquet(file, table.schema) as writer:
        writer.write(table)
        writer.write(table)
    whole = place.read_bytes()
    columns = [pq.read_metadata(place).row_group(0).column(number) for number in range(2)]
    starts = [start for column in columns for start in (column.dictionary_page_offset, column.data_page_offset)]
    for bit in (bit for start in starts for bit in range(8 * start, 8 * (start + 20))):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        place.write_bytes(flipped)
        with suppress(OSError, pa.ArrowException), ParquetTable(place) as found:
            assert found.read(0).equals(table)
            assert found.read(1).equals(table)


def describe_otherwise(place: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write a plan again, with right checksums, that says something else."""
    plan, *tables = read_all(place)
    options, later = plan.options.to_stored()
    stored = {
        "schema": 1, "options": options, "later": later, "version": plan.version, "roots": plan.roots,
        "classes": plan.classes, "shards": [dict(vars(shard)) for shard in plan.shards],
    }  # fmt: skip
    change(stored)
    place.unlink()
    with open(place, "wb") as file, write_parquet(file, tables[0].schema) as writer:
        for table in tables:
            writer.write(table)
        writer.describe({b"shardforge": json.dumps(stored).encode()})


def set_option(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda stored: stored["options"].update({name: value})


def set_conversion(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda stored: stored["options"]["conversion"].update({name: value})


def set_shard(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda stored: stored["shards"][1].update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        *(lambda stored, value=value: stored.update(schema=value) for value in (0, -1, "1", 1.0, True, None, [1])),
        *(lambda stored, name=name: stored.pop(name) for name in ("schema", "options", "version", "roots", "shards")),
        *(set_option("seed", value) for value in ("17", 1.5, True, None)),
        *(set_option("members", value) for value in ("cls", [3], None, {"a": "b"}, ["cls", "cls"])),
        *(set_option("encoder", value) for value in ({"pillow": 3}, [], None, "x")),
        *(set_option("name", value) for value in ("a/b", "", 3)),
        *(set_option("label", value) for value in (3, ["label"], "no such column")),
        set_option("shards", 3),
        *(set_conversion("size", value) for value in ([3], [3, "4"], "64", 64, [64, True], [0, 64])),
        *(set_conversion("quality", value) for value in ("90", 0, 90.0, True, None)),
        *(set_conversion("upscale", value) for value in (1, "yes", None)),
        set_conversion("format", "bmp"),
        *(set_shard("samples", value) for value in (-1, 0, "5", True, 5.0, None, 1 << 60)),
        *(set_shard("row_group", value) for value in (0, -1, 7, "1")),
        *(set_shard("number", value) for value in (-1, "1", 5, None)),
        *(set_shard("split", value) for value in ("validation", "..", "", None, 3, "train/x")),
        *(set_shard("path", value) for value in ("train/x.tar", "../a.tar", None, 3)),
        set_shard("digest", None),
        set_shard("colour", "red"),
        lambda stored: stored["shards"].pop(),
        lambda stored: stored["shards"].reverse(),
        *(lambda stored, value=value: stored.update(roots=value) for value in (None, [], {"a": 3}, {"a": "/", "b": 3})),
        *(lambda stored, value=value: stored.update(classes=value) for value in ("a", [3], {"a": "b"})),
        lambda stored: stored.update(version=3),
        lambda stored: stored.update(later={"conversion": {"hue": "red"}}),
        lambda stored: stored.update(later=[3]),
    ],
)
def test_a_plan_of_wrong_types_is_one_sentence(change: Callable[[dict[str, Any]], object], out: Path) -> None:
    describe_otherwise(Layout(out).plan, change)
    with pytest.raises(DatasetError, match=r"plan\.parquet: not a readable plan \(.*\); run `shardforge write` again"):
        read_plan(Layout(out).plan)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"x" * 5_000, b"PAR1" + b"\xff" * 200 + b"PAR1"])
def test_what_is_no_plan_is_one_sentence(content: bytes, out: Path) -> None:
    Layout(out).plan.write_bytes(content)
    with pytest.raises(DatasetError, match="not a readable plan"):
        read_plan(Layout(out).plan)


@pytest.mark.parametrize("finished", [True, False])
def test_the_plan_of_a_newer_release_is_left_alone(pristine: Path, finished: bool, out: Path) -> None:
    describe_otherwise(Layout(out).plan, lambda stored: stored.update(schema=2))
    with pytest.raises(NewerFormError):
        read_plan(Layout(out).plan)
    if not finished:
        (out / "_info.json").unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for command in (
        ("write", "--db", pristine / "mapping.duckdb", "--out", out, "--size", 64, "--shard-samples", 5),
        ("verify", out, "--repair"),
        ("catalog", out),
    ):
        workers = () if command[0] == "catalog" else ("--workers", 0)
        assert (
            "has schema 2, this version of shardforge reads 1: a newer one wrote it"
            in run(*command, *workers, code=1).stderr
        )
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path.name != "lock"} == {
        path: data for path, data in before.items() if path.name != "lock"
    }


def test_flipped_bits_of_a_parquet_table_are_noticed_or_harmless(tmp_path: Path) -> None:
    texts = [None if number % 3 else f"text {number}" for number in range(40)]
    table = pa.table({"text": pa.array(texts, pa.string()), "number": pa.array(range(40), pa.uint32())})
    table = table.append_column("none", pa.nulls(40, pa.int64()))
    place = tmp_path / "table.parquet"
    with open(place, "wb") as file, write_parquet(file, table.schema) as writer:
        writer.write(table.slice(0, 30))
        writer.write(pa.concat_tables([table.slice(30, 4), table.slice(34)]))
    whole = place.read_bytes()
    assert pq.read_table(place).equals(table)  # with any reader
    for damaged in (*flips(whole, 3_000), *(whole[:length] for length in range(0, len(whole), 11))):
        place.write_bytes(damaged)
        try:
            with ParquetTable(place) as found:
                assert pa.concat_tables([found.read(0), found.read(1)]).equals(table)
        except (OSError, pa.ArrowException):
            continue


def damage_column(place: Path, name: str) -> None:
    """Flip a bit in the data of a column of the first row group."""
    column = pq.read_metadata(place).row_group(0).column(pq.read_schema(place).get_field_index(name))
    data = bytearray(place.read_bytes())
    data[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 3] ^= 4
    place.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "column", "code"),
    [
        ("index/train.parquet", "key", "index_value"),
        ("index/train.parquet", "json_size", "index_value"),
        ("catalog.parquet", "path", "companion_value"),
    ],
)
def test_verify_names_a_damaged_table_once_and_repairs_it(file: str, column: str, code: str, out: Path) -> None:
    before = pq.read_table(out / file)
    damage_column(out / file, column)
    problems = json.loads(run("verify", out, "--json", "--workers", 0, code=1).stdout)["problems"]
    assert [(problem["file"], problem["code"]) for problem in problems] == [(file, code)]
    run("verify", out, "--repair", "--workers", 0)
    assert pq.read_table(out / file).equals(before)


def test_flipped_bits_of_the_manifest_are_named_by_verify_or_harmless(out: Path) -> None:
    """It has no checksum of its own: it is compared with plan and receipts, which have."""
    place = out / "_info.json"
    whole = place.read_bytes()
    for damaged in flips(whole, 60):
        place.write_bytes(damaged)
        try:
            same = json.loads(damaged) == json.loads(whole)
        except ValueError:
            same = False
        found = run("verify", out, "--level", "size", "--workers", 0, code=0 if same else 1)
        assert same or "_info.json: " in found.stderr


def test_a_key_twice_in_the_index_is_named(out: Path) -> None:
    place = out / "index" / "train.parquet"
    with ParquetTable(place) as index:
        tables = [index.read(group) for group in range(len(index.lengths))]
    keys = tables[0]["key"].to_pylist()
    tables[0] = tables[0].set_column(0, "key", pa.array([keys[1], *keys[1:]]))
    with open(place, "wb") as file, write_parquet(file, tables[0].schema) as writer:
        for table in tables:
            writer.write(table)
    found = run("verify", out, "--workers", 0, code=1).stderr
    assert "a key occurs in more than one place: found 1 keys more than once [key_twice]" in found
    assert f"key of {keys[0]}" in found


def test_a_damaged_plan_is_made_anew_by_write(pristine: Path, out: Path) -> None:
    before = shard_hashes(out)
    data = bytearray(Layout(out).plan.read_bytes())
    data[len(data) // 2] ^= 1
    Layout(out).plan.write_bytes(data)
    report = json.loads(write(pristine / "mapping.duckdb", out, "--shard-samples", 5, "--max-bad", 5, "--json").stdout)
    assert report["written"] == 0
    assert shard_hashes(out) == before


def test_replace_leaves_no_receipts_of_before(pristine: Path, out: Path) -> None:
    db = pristine / "mapping.duckdb"
    write(db, out, "--shard-samples", 5, "--max-bad", 5, "--splits", "train", "--replace")
    write(db, out, "--shard-samples", 20, "--max-bad", 5, "--splits", "train", "--replace")
    assert [place.name for place in Layout(out).receipts.iterdir()] == ["shards-train-000000.tar.json"]
    assert manifest(out)["splits"]["train"]["filenames"] == ["train/shards-train-000000.tar"]
