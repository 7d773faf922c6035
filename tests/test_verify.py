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
from archives import Member, write_tar
from hostile import HostileExecutor, make_hostile
from pipeline import manifest, prepare, run, shard_hashes, write

from shardforge.dataset.manifest import read_manifest
from shardforge.mapping import open_mapping
from shardforge.verify import shard
from shardforge.verify.dataset import verify_dataset
from shardforge.verify.mapping import verify_mapping
from shardforge.verify.shardlist import verify_shardlist

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
    assert all(problem["shard"] == problem["file"].endswith(".tar") for problem in problems)
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
    flip_image(out)  # of which sizes say nothing
    assert run("verify", out, "--level", "size", "--workers", 0).stdout == ""
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
    assert unknown.stdout == ""
    write(db, out, "--label", "family")
    run("verify", out, "--db", db, "--workers", 0)
    import duckdb

    with duckdb.connect(str(db)) as connection:
        lost = connection.sql("SELECT DISTINCT key FROM samples ORDER BY key LIMIT 2").fetchall()
        connection.execute("DELETE FROM images WHERE key = ?", lost[0])
        connection.execute("UPDATE samples SET position = 77 WHERE key = ?", lost[1])
    found = run("verify", out, "--db", db, "--workers", 0, code=1)
    assert f"{lost[0][0]}: a sample that the mapping does not know" in found.stderr
    assert f"{lost[1][0]}: the mapping says something else" in found.stderr
    assert found.stdout == ""


@pytest.mark.parametrize("lost", [10, 11])
def test_ten_keys_that_the_mapping_lacks_are_named(pristine: Path, tmp_path: Path, lost: int) -> None:
    folder = Path(shutil.copytree(pristine, tmp_path / "copy"))
    db, out = folder / "mapping.duckdb", folder / "shards"
    write(db, out, "--label", "family")
    known = manifest(out)["shardforge"]["plan_sha256"]
    with open_mapping(db, write=True) as mapping:
        mapping.execute("UPDATE datasets SET plan_sha256 = 'another'")
        keys = [key for (key,) in mapping.rows("SELECT DISTINCT key FROM samples ORDER BY key")][:lost]
        for key in keys:
            mapping.execute("DELETE FROM images WHERE key = $key", key=key)
    found = json.loads(run("verify", out, "--db", db, "--json", "--workers", 0, code=1).stdout)["problems"]
    assert not any(problem["shard"] for problem in found)
    said = [(one["code"], one["member"], one["expected"], one["found"]) for one in found]
    assert ("mapping_value", "plan_sha256", known, "another") in said
    named = [member for code, member, *_ in said if code == "mapping_missing"]
    assert named == (keys if lost == 10 else [*keys[:10], ""])
    assert (("mapping_missing", "", "", "11 keys in all") in said) == (lost == 11)


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


JPG, PNG = b"a JPEG", b"a PNG"  # stand for real images
GOOD: list[Member] = [("a.jpg", JPG), ("a.cls", b"0"), ("b.jpg", JPG), ("b.cls", b"1")]

#: Shards of others -> their members, what is damage, and what is not as `shardforge write` makes it.
FOREIGN: dict[str, tuple[list[Member], set[str], set[str]]] = {
    "as ours": (GOOD, set(), set()),
    "other formats": ([*GOOD, ("c.png", PNG), ("c.cls", b"2")], set(), {"member_missing", "member_extra"}),
    "jpeg": ([("a.jpeg", JPG), ("a.cls", b"0")], set(), {"member_suffix"}),
    "upper case": ([*GOOD, ("c.JPG", JPG), ("c.CLS", b"2")], set(), {"member_suffix"}),
    "line ends in labels": ([*GOOD, ("c.jpg", JPG), ("c.cls", b"2\n")], set(), {"label_range"}),
    "no label": ([*GOOD, ("c.jpg", JPG)], set(), set()),
    "another order": ([*GOOD, ("c.cls", b"0"), ("c.jpg", JPG)], set(), {"member_order"}),
    "two images": ([*GOOD, ("c.jpg", JPG), ("c.png", PNG), ("c.cls", b"0")], set(), {"member_extra"}),
    "a text more": ([*GOOD, ("c.jpg", JPG), ("c.cls", b"0"), ("c.json", b"{}")], set(), {"member_extra"}),
    "sidecars of a Mac": ([item for n, d in GOOD for item in ((f"./._{n}", b"\0\5"), (f"./{n}", d))], set(), set()),
    "stray files": ([GOOD[0], ("README", b""), *GOOD[1:], ("__meta__/a.json", b"[")], set(), set()),
    "a label that is none": ([*GOOD, ("c.jpg", JPG), ("c.cls", b"cat")], {"label_range"}, {"label_range"}),
    "a label beyond the classes": ([*GOOD, ("c.jpg", JPG), ("c.cls", b"3")], {"label_range"}, {"label_range"}),
    "no image": ([*GOOD, ("c.cls", b"2")], {"member_missing"}, {"member_missing"}),
    "a label of 64 kB and more": (
        [*GOOD, ("c.jpg", JPG), ("c.cls", b"0" * 65537)],
        {"member_costly"},
        {"member_costly"},
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_shards_are_judged_by_readers_or_by_our_contract(tmp_path: Path, image_tree: Path, name: str) -> None:
    real = {JPG: (image_tree / "fish/0.jpg").read_bytes(), PNG: (image_tree / "fish/3.png").read_bytes()}
    members, damage, strict = FOREIGN[name]
    tar = write_tar(tmp_path / "a.tar", [(n, real.get(d, d)) for n, d in members])
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    for options, expected in ((["--class-file", tmp_path / "classes.txt"], damage), (["--strict"], strict)):
        if "beyond" in name and "--strict" in options:
            options = [*options, "--class-file", tmp_path / "classes.txt"]
        found = run("verify", "--shardlist", tar, "--json", "--workers", 0, *options, code=1 if expected else 0)
        codes = {problem["code"] for problem in json.loads(found.stdout)["problems"]}
        assert codes == expected


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


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("json", b"{}", None),
        ("json", b"[1]", ("text_invalid", "a JSON object", "another JSON value")),
        ("json", b"null", ("text_invalid", "a JSON object", "another JSON value")),
        ("json", b"\xff", ("text_invalid", "a JSON object", "'utf-8' codec can't decode")),
        ("json", b"[" * 100_000, ("text_invalid", "a JSON object", "maximum recursion depth")),
        ("sci.txt", "Ara macao é".encode(), None),
        ("sci.txt", b"\xe9", ("text_invalid", "UTF-8 text", "'utf-8' codec can't decode")),
        ("cls", b"4", None),
        ("cls", b"5", ("label_range", "0 to 4", "5")),
        ("cls", b"-1", ("label_range", "0 to 4", "-1")),
        ("cls", b"1.0", ("label_range", "0 to 4", "1.0")),
        ("cls", b"9" * 19, ("label_range", "0 to 4", "9" * 19)),
        ("cls", b"", ("label_range", "0 to 4", "")),
        ("png", b"no image", ("image_undecodable", "", "the bytes are not those of a known image format")),
        ("bin", b"\xff", None),
    ],
)
def test_a_member_of_a_foreign_shard_is_read_by_its_extension(
    name: str, data: bytes, problem: tuple[str, str, str] | None, image_tree: Path, tmp_path: Path
) -> None:
    image = (image_tree / "fish" / "0.jpg").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for member, content in (("a.jpg", image), (f"a.{name}", data)):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    options = ("--class-file", tmp_path / "classes.txt", "--json", "--workers", 0)
    found = run("verify", "--shardlist", tmp_path / "a.tar", *options, code=1 if problem else 0)
    problems = json.loads(found.stdout)["problems"]
    assert len(problems) == (problem is not None)
    for one in problems:
        assert problem is not None
        assert (one["code"], one["member"], one["expected"]) == (problem[0], f"a.{name}", problem[1])
        assert one["found"].startswith(problem[2])


def test_samples_without_an_image_or_with_other_members_are_named(image_tree: Path, tmp_path: Path) -> None:
    image = (image_tree / "fish" / "0.jpg").read_bytes()
    names = [
        "a.jpg",
        "a.cls",
        "b.jpg",
        "b.cls",
        "c.jpg",
        "c.cls",
        "d.cls",
        "e.jpg",
        "e.cls",
        "e.json",
        "a.jpg",
        "a.cls",
    ]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in names:
            content = image if name.endswith("jpg") else b"{}" if name.endswith("json") else b"1"
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    found = run("verify", "--shardlist", tmp_path / "a.tar", "--strict", "--json", "--workers", 0, code=1)
    problems = [(one["code"], one["member"]) for one in json.loads(found.stdout)["problems"]]
    assert sorted(problems) == [
        ("key_twice", "a"),
        ("member_extra", "e.json"),
        ("member_missing", "d"),
        ("member_missing", "d.jpg"),
    ]


def test_each_value_of_a_manifest_is_compared(out: Path) -> None:
    info = manifest(out)
    before = json.loads(json.dumps(info))
    info["splits"]["train"]["shard_lengths"][2] = 7
    info["splits"]["validation"]["name"] = "é" * 79
    info["splits"]["train"]["name"] = "é" * 78
    del info["shardforge"]["options"]["label"]
    info["more"] = 1
    info["shardforge"]["members"] = ["jpg"]
    (out / "_info.json").write_text(json.dumps(info))
    found = json.loads(run("verify", out, "--json", "--workers", 0, code=1).stdout)["problems"]
    assert {one["member"]: (one["code"], one["file"], one["expected"], one["found"]) for one in found} == {
        "splits.train.shard_lengths[2]": ("manifest_value", "_info.json", "8", "7"),
        "splits.validation.name": ("manifest_value", "_info.json", '"validation"', '"' + "é" * 76 + "..."),
        "splits.train.name": ("manifest_value", "_info.json", '"train"', '"' + "é" * 78 + '"'),
        "shardforge.options.label": ("manifest_value", "_info.json", '"family"', "null"),
        "shardforge.members": ("manifest_value", "_info.json", json.dumps(before["shardforge"]["members"]), '["jpg"]'),
        "more": ("manifest_value", "_info.json", "null", "1"),
    }
    assert len(found) == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: None, ("", "33 classes", "no readable file")),
        (lambda text: b"\xff" + text, ("", "33 classes", "no readable file")),
        (lambda text: text + b"Zzz\n", ("", "33 classes", "34 lines")),
        (lambda text: text.replace(b"Felidae", b"Feline"), ("line 13", "'Felidae'", "'Feline'")),
        (lambda text: text.removesuffix(b"\n"), ("", "a line end behind the last class", "none")),
    ],
)
def test_what_is_wrong_with_a_class_file(
    change: Callable[[bytes], bytes | None], said: tuple[str, str, str], out: Path
) -> None:
    content = change((out / "classes.txt").read_bytes())
    (out / "classes.txt").unlink()
    if content is not None:
        (out / "classes.txt").write_bytes(content)
    (found,) = json.loads(run("verify", out, "--json", "--workers", 0, code=1).stdout)["problems"]
    assert (found["code"], found["file"]) == ("class_file", "classes.txt")
    assert (found["member"], found["expected"], found["found"]) == said


def test_tars_come_in_the_order_of_their_names(out: Path) -> None:
    extra = [out / "train" / f"shards-train-{number:06d}.tar" for number in (99, 7, 50, 12, 88, 31)]
    for path in extra:
        shutil.copy(out / SHARD, path)
    found = json.loads(run("verify", out, "--json", "--workers", 0, code=1).stdout)["problems"]
    assert [problem["file"] for problem in found] == [
        f"train/shards-train-{n:06d}.tar" for n in (7, 12, 31, 50, 88, 99)
    ]
    for path in (out / "train").glob("*.tar"):
        path.write_bytes(b"")
    names = run("verify", "--shardlist", out / "train", "--workers", 0, code=1).stdout.splitlines()
    assert len(names) == 11
    assert names == sorted(names)


def test_an_index_of_more_columns_is_named(out: Path) -> None:
    table = pq.read_table(out / "index" / "train.parquet")
    sizes = manifest(out)["splits"]["train"]["shard_lengths"]
    with pq.ParquetWriter(
        out / "index" / "train.parquet", (more := table.append_column("x", table["label"])).schema
    ) as w:
        for number, size in enumerate(sizes):
            w.write_table(more.slice(sum(sizes[:number]), size))
    found = json.loads(run("verify", out, "--json", "--workers", 0, code=1).stdout)["problems"]
    assert {problem["code"] for problem in found} == {"index_value"}
    columns = ", ".join(table.column_names)
    assert {(one["expected"], one["found"]) for one in found} == {(f"the columns {columns}", f"{columns}, x")}


def test_a_mapping_is_reconciled_as_often_as_one_likes(pristine: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pristine, tmp_path / "copy"))
    write(folder / "mapping.duckdb", folder / "shards", "--label", "family")
    with open_mapping(folder / "mapping.duckdb") as mapping:
        known = read_manifest(folder / "shards" / "_info.json")
        assert [list(verify_mapping(mapping, known)) for _ in range(2)] == [[], []]


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
        (["--shardlist", "https://x.org/y.tar"], "a URL, and this command works on files of this machine"),
        (["x/_info.json", "--strict"], "--strict goes with --shardlist"),
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
        {"splits": {"train": {"filenames": [], "shard_lengths": []}}, "shardforge": {"aliases": {"a": 1}}},
        {"splits": {"train": {"filenames": [], "shard_lengths": []}}, "shardforge": {"members": [1]}},
        {"splits": {"train": {"filenames": [], "shard_lengths": []}}, "shardforge": {"classes": {"count": "1"}}},
        {"splits": {"train": {"filenames": [""], "shard_lengths": [1]}}},
        {"splits": {"train": {"filenames": ["a.tar"], "shard_lengths": [1], "shard_bytes": [1, 2]}}},
        {"splits": {"train": {"filenames": ["a.tar"], "shard_lengths": [1], "shard_sha256": [1]}}},
    ],
)
def test_a_manifest_of_wrong_types_is_one_sentence(tmp_path: Path, content: object) -> None:
    (tmp_path / "_info.json").write_text(json.dumps(content))
    failed = run("verify", tmp_path, "--workers", 0, code=1)
    assert failed.stderr.startswith(f"Error: {tmp_path}/_info.json")


@pytest.mark.parametrize("given", ["shardlist", "dataset"])
def test_a_member_that_kills_its_reader_is_named_and_the_rest_is_read(tmp_path: Path, given: str) -> None:
    for name in ("good", "fine", "segfault", "unforeseen", "kill"):
        make_hostile(tmp_path / "images" / f"{name}.jpg", name)
    db = prepare(tmp_path, f"s=folder:{tmp_path / 'images'}", "--rule", "exact", "--val-split", 20)
    out = tmp_path / "shards"
    write(db, out, "--passthrough", "--label", "none")
    with open_mapping(db) as mapping:
        names = dict(mapping.rows("SELECT key, path FROM images"))
    with HostileExecutor(1) as executor:
        if given == "dataset":
            problems = verify_dataset(out / "_info.json", "decode", executor, progress=lambda *_: None)
        else:
            found = verify_shardlist(
                [str(out / "*" / "*.tar")], "decode", executor, classes=None, progress=lambda *_: None
            )
            problems = found.problems
    said = {(problem.code, names[problem.member.partition(".")[0]]): problem.found for problem in problems}
    killed = {("reader_killed", name) for name in ("segfault.jpg", "kill.jpg")}
    assert said.keys() == killed | {("internal_error", "unforeseen.jpg")}
    assert "SIGSEGV" in said["reader_killed", "segfault.jpg"]
    assert said["internal_error", "unforeseen.jpg"] == "ValueError: nobody thought of this"


def test_a_name_with_a_line_break_stays_on_its_line(out: Path) -> None:
    shutil.copy(out / SHARD, out / "train" / "a\nb.tar")
    assert run("verify", out, "--workers", 0, code=1).stdout == f"{out}/train/a\\nb.tar\n"
    assert "train/a\\nb.tar: moved to .shardforge/set_aside/train/a\\nb.tar" in run("verify", out, "--repair").stderr


@pytest.mark.parametrize("command", [["verify"], ["verify", "--repair"], ["card"]])
def test_what_a_newer_release_wrote_is_not_written_over(command: list[str], out: Path) -> None:
    info = out / "_info.json"
    info.write_text(info.read_text().replace('"schema": 1', '"schema": 2'))
    before = info.read_bytes()
    refused = run(command[0], out, *command[1:], code=1)
    assert "_info.json: has schema 2, this version of shardforge reads 1: a newer one wrote it" in refused.stderr
    assert info.read_bytes() == before


@pytest.mark.parametrize("replace", [False, True])
def test_write_does_not_write_over_what_a_newer_release_wrote(replace: bool, pristine: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pristine, tmp_path / "newer"))
    info = folder / "shards" / "_info.json"
    info.write_text(info.read_text().replace('"schema": 1', '"schema": 2'))
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    more = ["--replace"] if replace else []
    refused = write(folder / "mapping.duckdb", folder / "shards", "--label", "family", *more, code=1)
    assert "a newer one wrote it" in refused.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("file", ["classes.txt", "index/train.parquet", "train/sizes.json", SHARD])
def test_a_pipe_in_place_of_a_file_is_a_problem(file: str, out: Path) -> None:
    (out / file).unlink()
    os.mkfifo(out / file)
    assert f"{file}: " in run("verify", out, "--workers", 0, code=1).stderr


def test_repair_speaks_of_what_it_wrote(pristine: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(pristine / "shards", tmp_path / "moved"))
    found = run("verify", moved, "--db", (pristine / "mapping.duckdb").absolute(), "--repair", "--workers", 0, code=1)
    assert "mapping.duckdb" in found.stderr
    assert "written again" not in found.stderr
