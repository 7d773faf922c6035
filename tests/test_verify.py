"""`shardforge verify`: each damage is found and named, and repair restores the very same bytes."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline import manifest, prepare, run, shard_hashes, write

from shardforge.verify import shard

SHARD = "train/shards-train-000001.tar"
OTHER = "train/shards-train-000002.tar"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A folder with mapping.duckdb and a dataset of 45 photos in six shards."""
    folder = tmp_path_factory.mktemp("pristine")
    db = prepare(folder, f"photos=table:{photos / 'photos.csv'}")
    write(db, folder / "shards", "--label", "family")
    return folder


@pytest.fixture
def out(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the dataset to be damaged."""
    return Path(shutil.copytree(pristine / "shards", tmp_path / "shards"))


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x01
    path.write_bytes(data)


def members_of(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]


def rewrite(path: Path, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> None:
    """Write a tar again with other members, in the same format."""
    members = change(members_of(path))
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def flip_image(out: Path) -> None:
    with tarfile.open(out / SHARD) as tar:
        member = tar.getmembers()[6]
    flip(out / SHARD, member.offset_data + 700)


def flip_header(out: Path) -> None:
    with tarfile.open(out / SHARD) as tar:
        member = tar.getmembers()[6]
    flip(out / SHARD, member.offset + 110)


def flip_padding(out: Path) -> None:
    with tarfile.open(out / SHARD) as tar:
        member = tar.getmembers()[6]
    flip(out / SHARD, member.offset_data + member.size + 1)


def truncate(out: Path) -> None:
    data = (out / SHARD).read_bytes()
    (out / SHARD).write_bytes(data[: len(data) // 2])


def swap(out: Path) -> None:
    (out / SHARD).rename(out / "aside")
    (out / OTHER).rename(out / SHARD)
    (out / "aside").rename(out / OTHER)


def add_shard(out: Path) -> None:
    shutil.copy(out / SHARD, out / "train" / "shards-train-000099.tar")


def wrong_label(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    name, data = members[4]
    assert name.endswith(".cls")
    return [*members[:4], (name, b"%d" % (9 - int(data) % 10)), *members[5:]]


def edit_count(out: Path) -> None:
    info = manifest(out)
    info["splits"]["train"]["num_samples"] += 1
    (out / "_info.json").write_text(json.dumps(info))


def drop_class(out: Path) -> None:
    lines = (out / "classes.txt").read_text().splitlines()
    (out / "classes.txt").write_text("\n".join(lines[:-1]) + "\n")


def rename_class(out: Path) -> None:
    text = (out / "classes.txt").read_text()
    (out / "classes.txt").write_text(text.replace("Felidae", "Canidaf"))


def edit_index(column: str, change: Callable[[int], int]) -> Callable[[Path], None]:
    """Return a damage: another value for the fifth sample of the train split's index, in its second shard."""

    def damage(out: Path) -> None:
        place = out / "index" / "train.parquet"
        with pq.ParquetFile(place) as index:
            tables = [index.read_row_group(group) for group in range(index.num_row_groups)]
        values = tables[1][column].to_pylist()
        values[4] = change(values[4])
        position = tables[1].schema.get_field_index(column)
        tables[1] = tables[1].set_column(
            position, tables[1].schema.field(column), pa.array(values, tables[1][column].type)
        )
        with pq.ParquetWriter(place, tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)

    return damage


def rename_index_column(out: Path) -> None:
    place = out / "index" / "train.parquet"
    table = pq.read_table(place)
    pq.write_table(table.rename_columns(["name", *table.column_names[1:]]), place)


def spoil_receipt(name: str, value: object) -> Callable[[Path], None]:
    """Return a damage: another value in a shard's receipt, whose shard is gone, too."""

    def damage(out: Path) -> None:
        place = out / ".shardforge" / "shards" / f"{Path(SHARD).name}.json"
        place.write_text(json.dumps(json.loads(place.read_text()) | {name: value}))
        (out / SHARD).unlink()

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "byte in an image": (flip_image, "member_bytes", SHARD),
    "byte in a header": (flip_header, "tar_header", SHARD),
    "byte in the padding": (flip_padding, "tar_padding", SHARD),
    "truncated": (truncate, "shard_truncated", SHARD),
    "emptied": (lambda out: (out / SHARD).write_bytes(b""), "shard_truncated", SHARD),
    "missing shard": (lambda out: (out / SHARD).unlink(), "shard_missing", SHARD),
    "swapped shards": (swap, "shard_swapped", SHARD),
    "extra shard": (add_shard, "shard_extra", "train/shards-train-000099.tar"),
    "dropped member": (lambda out: rewrite(out / SHARD, lambda all_: all_[:3] + all_[4:]), "member_missing", SHARD),
    "added member": (lambda out: rewrite(out / SHARD, lambda all_: [*all_, ("x.jpg", b"new")]), "member_extra", SHARD),
    "renamed member": (
        lambda out: rewrite(out / SHARD, lambda all_: [("renamed.jpg", all_[0][1]), *all_[1:]]),
        "member_renamed",
        SHARD,
    ),
    "duplicated member": (
        lambda out: rewrite(out / SHARD, lambda all_: [all_[0], *all_]),
        "member_duplicate",
        SHARD,
    ),
    "wrong label": (lambda out: rewrite(out / SHARD, wrong_label), "label_wrong", SHARD),
    "shorter class file": (drop_class, "class_file", "classes.txt"),
    "renamed class": (rename_class, "class_file", "classes.txt"),
    "edited count": (edit_count, "manifest_value", "_info.json"),
    "manifest is no JSON": (lambda out: (out / "_info.json").write_text("{"), "manifest_invalid", "_info.json"),
    "manifest gone": (lambda out: (out / "_info.json").unlink(), "manifest_invalid", "_info.json"),
    "index torn": (
        lambda out: (out / "index/train.parquet").write_bytes(b"PAR1"),
        "index_value",
        "index/train.parquet",
    ),
    "index gone": (lambda out: (out / "index/train.parquet").unlink(), "index_missing", "index/train.parquet"),
    "index of other columns": (rename_index_column, "index_value", "index/train.parquet"),
    "edited offset": (edit_index("jpg_offset", lambda offset: offset + 512), "index_value", "index/train.parquet"),
    "edited CRC": (edit_index("json_crc32", lambda crc: crc ^ 1), "index_value", "index/train.parquet"),
    "edited label": (edit_index("label", lambda label: label + 1), "index_value", "index/train.parquet"),
    "receipt of another plan": (spoil_receipt("digest", "0" * 64), "shard_missing", SHARD),
    "receipt of wrong types": (spoil_receipt("sizes", {"jpg": ["many"]}), "shard_missing", SHARD),
    "manifest nested too deep": (
        lambda out: (out / "_info.json").write_text("[" * 100_000),
        "manifest_invalid",
        "_info.json",
    ),
    "sizes edited": (lambda out: (out / "train/sizes.json").write_text("{}"), "companion_value", "train/sizes.json"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_repaired_to_the_same_bytes(name: str, pristine: Path, out: Path) -> None:
    damage, code, file = DAMAGES[name]
    damage(out)
    found = run("verify", out / "_info.json", "--json", "--workers", 0, code=1)
    problems = json.loads(found.stdout)["problems"]
    assert (code, file) in {(problem["code"], problem["file"]) for problem in problems}, problems
    run("verify", out / "_info.json", "--repair", "--workers", 0)
    assert shard_hashes(out) == shard_hashes(pristine / "shards")
    assert (out / "_info.json").read_bytes() == (pristine / "shards" / "_info.json").read_bytes()
    assert (out / "classes.txt").read_bytes() == (pristine / "shards" / "classes.txt").read_bytes()


@pytest.mark.parametrize("level", ["size", "checksum", "decode"])
def test_a_good_dataset_is_silent(out: Path, level: str) -> None:
    good = run("verify", out, "--level", level, "--workers", 0)
    assert good.stdout == ""


@pytest.mark.parametrize("workers", [2])
def test_verify_in_a_pool_prints_bad_shards_only(out: Path, workers: int) -> None:
    flip_image(out)
    found = run("verify", out / "_info.json", "--workers", workers, code=1)
    assert found.stdout == f"{out / SHARD}\n"
    assert "[member_bytes]" in found.stderr
    assert found.stderr.endswith(f"Next: shardforge verify {out / '_info.json'} --repair\n")


def test_a_shard_that_is_cut_while_it_is_read_is_a_problem(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_image = shard.check_image

    def cut(data: bytes, codec: str) -> tuple[int, int]:
        os.truncate(out / SHARD, 5_000)
        return check_image(data, codec)

    monkeypatch.setattr(shard, "check_image", cut)
    found = run("verify", "--shardlist", out / SHARD, "--workers", 0, code=1)
    assert "the shard cannot be opened or read: found cut short while it was read" in found.stderr


def test_size_level_finds_a_truncated_shard_without_reading(out: Path) -> None:
    truncate(out)
    assert "[shard_truncated]" in run("verify", out, "--level", "size", "--workers", 0, code=1).stderr


def test_repair_refuses_bytes_that_differ(tmp_path: Path, image_tree: Path) -> None:
    db = prepare(tmp_path, f"tree=folder:{image_tree}")
    out = tmp_path / "shards"
    write(db, out)
    shard = out / "train" / "shards-train-000000.tar"
    shard.unlink()
    for path in image_tree.glob("*/0.jpg"):
        path.unlink()
    failed = run("verify", out, "--repair", "--workers", 0, code=1)
    assert "cannot be restored to the same bytes" in failed.stderr
    assert "0.jpg: No such file or directory" in failed.stderr
    assert failed.stdout == f"{shard}\n"
    assert not shard.exists()


def test_mapping_and_shards_are_reconciled(pristine: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pristine, tmp_path / "copy"))
    db, out = folder / "mapping.duckdb", folder / "shards"
    unknown = run("verify", out, "--db", db, "--workers", 0, code=1)
    assert "[mapping_value]" in unknown.stderr
    write(db, out, "--label", "family")
    run("verify", out, "--db", db, "--workers", 0)
    import duckdb

    with duckdb.connect(str(db)) as connection:
        lost = connection.sql("SELECT key FROM samples ORDER BY key LIMIT 2").fetchall()
        connection.execute("DELETE FROM images WHERE key = ?", lost[0])
        connection.execute("UPDATE samples SET position = 77 WHERE key = ?", lost[1])
    found = run("verify", out, "--db", db, "--workers", 0, code=1)
    assert f"{lost[0][0]}: a sample that the mapping does not know" in found.stderr
    assert f"{lost[1][0]}: the mapping says something else" in found.stderr


def test_a_split_run_that_changed_since_is_a_problem(pristine: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pristine, tmp_path / "copy"))
    db, out = folder / "mapping.duckdb", folder / "shards"
    write(db, out, "--label", "family")
    run("split", "--db", db, "--seed", 18, "--rule", "exact", "--val-split", 20)
    found = run("verify", out, "--db", db, "--workers", 0, code=1)
    assert "keys in other splits: the run changed since" in found.stderr


def test_foreign_shards_by_braces(out: Path) -> None:
    pattern = f"{out}/train/shards-train-{{000000..000004}}.tar"
    assert run("verify", "--shardlist", pattern, "--workers", 0).stdout == ""
    rewrite(out / SHARD, lambda all_: [*all_[:5], *all_[6:]])
    truncate_path = out / OTHER
    truncate_path.write_bytes(truncate_path.read_bytes()[:20_000])
    missing = f"{out}/train/shards-train-{{000000..000005}}.tar"
    found = run("verify", "--shardlist", missing, "--workers", 0, code=1)
    assert found.stdout.splitlines() == [str(out / SHARD), str(out / OTHER), f"{out}/train/shards-train-000005.tar"]
    assert "[member_missing]" in found.stderr
    assert "[shard_truncated]" in found.stderr
    assert "[shard_missing]" in found.stderr


def test_foreign_shards_with_a_bad_image_label_and_key(out: Path) -> None:
    def spoil(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        image, label, text = members[0], members[1], members[2]
        return [(image[0], image[1][:600]), (label[0], b"99"), (text[0], b"["), *members[3:]]

    rewrite(out / SHARD, spoil)
    shutil.copy(out / OTHER, out / "train" / "copy.tar")
    found = run(
        "verify", "--shardlist", out / SHARD, "--shardlist", out / OTHER, "--shardlist", out / "train" / "copy.tar",
        "--class-file", out / "classes.txt", "--workers", 0, code=1,
    )  # fmt: skip
    for code in ("image_undecodable", "label_range", "text_invalid", "key_twice"):
        assert f"[{code}]" in found.stderr


def test_a_manifest_of_another_tool(out: Path, tmp_path: Path) -> None:
    info = {
        "name": "packed",
        "splits": {
            "training": {"name": "training", "num_samples": 99, "filenames": [SHARD], "shard_lengths": [8]},
        },
    }
    place = tmp_path / "foreign" / "_info.json"
    (place.parent / "train").mkdir(parents=True)
    shutil.copy(out / SHARD, place.parent / SHARD)
    place.write_text(json.dumps(info))
    found = run("verify", place, "--workers", 0, code=1)
    assert "splits.training.num_samples" in found.stderr
    assert "expected 8, found 99" in found.stderr
    info["splits"]["training"]["num_samples"] = 8
    place.write_text(json.dumps(info))
    run("verify", place, "--workers", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give either INFO"),
        (["x/_info.json", "--shardlist", "y.tar"], "Give either INFO"),
        (["--shardlist", "y.tar", "--repair"], "need INFO"),
        ([__file__], "tars go with --shardlist"),
        (["--shardlist", "https://x.org/y.tar"], "download them first"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    assert message in run("verify", *arguments, code=2).stderr


def test_no_such_manifest(tmp_path: Path) -> None:
    assert "not found" in run("verify", tmp_path / "_info.json", "--workers", 0, code=2).stderr


def test_a_dataset_that_is_not_finished(out: Path) -> None:
    (out / "_info.json").unlink()
    shutil.rmtree(out / ".shardforge" / "shards")
    assert "run the same `shardforge write` again" in run("verify", out, "--workers", 0, code=2).stderr


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"splits": []},
        {"splits": {"train": []}},
        {"splits": {"train": {"filenames": [1], "shard_lengths": [1]}}},
        {"splits": {"train": {"filenames": ["a.tar"], "shard_lengths": ["x"]}}},
        {"splits": {"train": {"filenames": ["a.tar"], "shard_lengths": [1, 2]}}},
        {"splits": {"train": {"filenames": [], "shard_lengths": []}}, "shardforge": []},
        {"splits": {"train": {"filenames": ["\0.tar"], "shard_lengths": [1]}}},
        {"splits": {"train": {"filenames": ["\ud800.tar"], "shard_lengths": [1]}}},
        {"splits": {"train": {"filenames": [], "shard_lengths": []}}, "shardforge": {"classes": 7}},
        {"splits": {"train": {"filenames": [], "shard_lengths": []}}, "shardforge": {"members": None}},
        {"splits": {"train": {"filenames": [], "shard_lengths": []}}, "shardforge": {"index": ["a"]}},
    ],
)
def test_a_manifest_of_wrong_types_is_one_sentence(tmp_path: Path, content: object) -> None:
    (tmp_path / "_info.json").write_text(json.dumps(content))
    failed = run("verify", tmp_path, "--workers", 0, code=1)
    assert failed.stderr.startswith(f"Error: {tmp_path}/_info.json")


def test_a_name_with_a_line_break_stays_on_its_line(out: Path) -> None:
    shutil.copy(out / SHARD, out / "train" / "a\nb.tar")
    assert run("verify", out, "--workers", 0, code=1).stdout == f"{out}/train/a\\nb.tar\n"
    assert "train/a\\nb.tar: moved to .shardforge/set_aside/train/a\\nb.tar" in run("verify", out, "--repair").stderr
