"""`shardforge write`: what lies on disk, same bytes, resuming, and what bad input gets."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import tarfile
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hostile import HostileExecutor, make_hostile
from PIL import Image
from pipeline import as_nobody, copy_images, manifest, prepare, run, shard_hashes, start, write

from shardforge.dataset.budget import Budget
from shardforge.dataset.layout import Layout
from shardforge.dataset.lock import lock_dataset
from shardforge.dataset.options import WriteOptions
from shardforge.dataset.place import check_place
from shardforge.dataset.write import WriteReport, write_dataset
from shardforge.errors import UsageError
from shardforge.images.convert import Conversion


@pytest.fixture
def db(tmp_path: Path, photos: Path) -> Path:
    return prepare(tmp_path, f"photos=table:{photos / 'photos.csv'}")


def test_dataset_on_disk(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write(db, out, "--name", "evo", "--label", "family")
    info = manifest(out)
    train, validation = info["splits"]["train"], info["splits"]["validation"]
    assert train["num_samples"] == 36
    assert validation["num_samples"] == 9
    assert train["filenames"] == [f"train/evo-train-{i:06d}.tar" for i in range(5)]
    assert train["shard_lengths"] == [8, 8, 8, 8, 4]
    assert info["splits"]["training"] == {**train, "name": "training"}
    assert dict(zip(train["filenames"], train["shard_sha256"], strict=True)).items() <= shard_hashes(out).items()
    assert [shard["url"] for shard in info["shardlist"]] == [*train["filenames"], *validation["filenames"]]
    classes = (out / "classes.txt").read_text().splitlines()
    assert len(classes) == 33
    assert classes == sorted(classes)
    assert json.loads((out / "train" / "sizes.json").read_text())["evo-train-000004.tar"] == 4
    assert {path.name for path in out.iterdir()} == {
        ".shardforge", "_info.json", "classes.txt", "index", "train", "validation",
    }  # fmt: skip


def test_samples_hold_image_label_and_facts(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write(db, out, "--label", "species", "--members", "cls,json,common_name.txt")
    classes = (out / "classes.txt").read_text().splitlines()
    with tarfile.open(out / "train" / "shards-train-000000.tar") as tar:
        members = tar.getmembers()
        data = {member.name: tar.extractfile(member).read() for member in members}
    assert [member.name.partition(".")[2] for member in members[:4]] == ["jpg", "cls", "json", "common_name.txt"]
    assert {(member.mtime, member.uid, member.gid, member.mode, member.uname) for member in members} == {
        (0, 0, 0, 0o644, "")
    }
    for key in {name.partition(".")[0] for name in data}:
        facts = json.loads(data[f"{key}.json"])
        assert classes[int(data[f"{key}.cls"])] == facts["species"]
        assert facts["key"] == key
        assert facts.get("common_name", "") == data[f"{key}.common_name.txt"].decode()
        with Image.open(io.BytesIO(data[f"{key}.jpg"])) as image:
            assert image.size == (64, 64)


@pytest.mark.parametrize("unlabelled", ["leave-out", "keep"])
def test_index_gives_every_member_and_no_other(db: Path, tmp_path: Path, unlabelled: str) -> None:
    """Behind empty members, too (one photo has no class), and behind absent ones (two have no order)."""
    out = tmp_path / "shards"
    write(db, out, "--label", "order", "--members", "cls,class.txt,json", "--unlabelled", unlabelled)
    found: dict[str, tuple[int | None, ...]] = {}
    absent = 0
    for row in (row for path in out.glob("index/*.parquet") for row in pq.read_table(path).to_pylist()):
        for extension in ("jpg", "cls", "class.txt", "json"):
            offset, size, crc = (row[f"{extension}_{part}"] for part in ("offset", "size", "crc32"))
            if offset is None:
                assert (size, crc, extension, row["label"]) == (None, None, "cls", None)
                absent += 1
            else:
                found[f"{row['key']}.{extension}"] = offset, size, crc, row["shard"], row["label"]
    expected: dict[str, tuple[int | None, ...]] = {}
    for path in out.glob("*/*.tar"):
        with tarfile.open(path) as tar:
            data = {info.name: tar.extractfile(info).read() for info in tar}
            labels = {name.partition(".")[0]: int(text) for name, text in data.items() if name.endswith(".cls")}
            for info in tar:
                place = info.offset_data, info.size, zlib.crc32(data[info.name]), int(path.stem[-6:])
                expected[info.name] = *place, labels.get(info.name.partition(".")[0])
    assert found == expected
    assert [size for _, size, *_ in found.values()].count(0) == 1
    assert absent == (2 if unlabelled == "keep" else 0)


@pytest.mark.parametrize("workers", [1, 4])
def test_same_bytes_at_any_number_of_workers(db: Path, tmp_path: Path, workers: int) -> None:
    write(db, tmp_path / "alone" / "shards", "--label", "family")
    write(db, tmp_path / "pool" / "shards", "--label", "family", workers=workers)
    assert shard_hashes(tmp_path / "alone" / "shards") == shard_hashes(tmp_path / "pool" / "shards")
    assert (tmp_path / "alone/shards/_info.json").read_bytes() == (tmp_path / "pool/shards/_info.json").read_bytes()


def test_same_bytes_from_a_fresh_mapping_in_the_other_engine(db: Path, tmp_path: Path, photos: Path) -> None:
    other = tmp_path / "again.sqlite"
    run("map", "--db", other, "--source", f"photos=table:{photos / 'photos.csv'}", "--workers", 0)
    run("split", "--db", other, "--seed", 17, "--rule", "exact", "--val-split", 20)
    write(db, tmp_path / "one" / "shards", "--label", "family")
    write(other, tmp_path / "two" / "shards", "--label", "family")
    assert shard_hashes(tmp_path / "one" / "shards") == shard_hashes(tmp_path / "two" / "shards")


@pytest.mark.ray
def test_same_bytes_on_ray(db: Path, tmp_path: Path) -> None:
    write(db, tmp_path / "local" / "shards", "--label", "family")
    write(db, tmp_path / "ray" / "shards", "--label", "family", "--executor", "ray", workers=2)
    assert shard_hashes(tmp_path / "local" / "shards") == shard_hashes(tmp_path / "ray" / "shards")


def test_killed_runs_resume_to_the_same_bytes(tmp_path: Path, photos: Path) -> None:
    db = prepare(tmp_path, f"photos=folder:{copy_images(photos, tmp_path / 'images', 6)}")
    write(db, tmp_path / "whole" / "shards")
    out = tmp_path / "killed" / "shards"
    moments = random.Random(17)
    for _ in range(20):
        process = start("write", "--db", db, "--out", out, "--size", 64, "--shard-samples", 8, "--workers", 2)
        time.sleep(moments.uniform(0.3, 1.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for tar in out.glob("*/*.tar"):
            assert tar.stat().st_size > 0
    write(db, out, workers=2)
    assert shard_hashes(out) == shard_hashes(tmp_path / "whole" / "shards")
    assert manifest(out) == manifest(tmp_path / "whole" / "shards")
    assert not (out / ".shardforge" / "tmp").exists()


def test_second_run_keeps_every_shard_and_mends_a_bad_one(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write(db, out)
    before = shard_hashes(out)
    assert json.loads(write(db, out, "--json").stdout)["kept"] == len(before)
    shard = out / "train" / "shards-train-000001.tar"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 1
    shard.write_bytes(data)
    report = json.loads(write(db, out, "--json").stdout)
    assert (report["written"], report["kept"]) == (1, len(before) - 1)
    assert shard_hashes(out) == before


def test_parts_then_a_last_run(db: Path, tmp_path: Path) -> None:
    write(db, tmp_path / "whole" / "shards")
    out = tmp_path / "parts" / "shards"
    write(db, out, "--shards", "1/2")
    write(db, out, "--shards", "3-6")
    assert not (out / "_info.json").exists()
    assert json.loads(write(db, out, "--json").stdout)["written"] == 0
    assert shard_hashes(out) == shard_hashes(tmp_path / "whole" / "shards")


def test_impossible_parts(db: Path, tmp_path: Path) -> None:
    assert "--shards 0-7: the plan has shards 0 to 6" in write(db, tmp_path / "s", "--shards", "0-7", code=2).stderr


def test_every_image_has_an_outcome(tmp_path: Path, image_tree: Path) -> None:
    (image_tree / "birds" / "empty.jpg").touch()
    (image_tree / "birds" / "text.jpg").write_text("no image")
    torn = image_tree / "fish" / "torn.jpg"
    torn.write_bytes((image_tree / "fish" / "0.jpg").read_bytes()[:-400])
    db = prepare(tmp_path, f"tree=folder:{image_tree}")
    (image_tree / "birds" / "0.jpg").unlink()
    changed = image_tree / "birds" / "1.jpg"
    changed.write_bytes(changed.read_bytes() + b"more")
    out = tmp_path / "shards"
    report = json.loads(write(db, out, "--json").stdout)
    assert report["outcomes"] == {
        "ok": 10,
        "vanished": 1,
        "changed": 1,
        "truncated": 1,
        "empty_file": 1,
        "not_an_image": 1,
    }
    with duckdb.connect(str(db), read_only=True) as connection:
        rows = connection.sql("SELECT count(*), count(DISTINCT key) FROM outcomes").fetchall()
    assert rows == [(15, 15)]


def test_failure_budget_stops_a_run_and_keeps_what_is_done(tmp_path: Path, image_tree: Path) -> None:
    db = prepare(tmp_path, f"tree=folder:{image_tree}")
    for path in image_tree.glob("*/0.jpg"):
        path.unlink()
    out = tmp_path / "shards"
    stopped = write(db, out, "--max-bad", 1, code=1)
    assert "--max-bad" in stopped.stderr
    assert "vanished" in stopped.stderr
    assert not (out / "_info.json").exists()
    write(db, out, "--max-bad", "50%")
    assert manifest(out)["splits"]["train"]["num_samples"] + manifest(out)["splits"]["validation"]["num_samples"] == 9


def test_retry_bad_writes_only_shards_that_miss_images(tmp_path: Path, image_tree: Path) -> None:
    db = prepare(tmp_path, f"tree=folder:{image_tree}")
    victim = image_tree / "birds" / "0.jpg"
    moved = victim.rename(tmp_path / "aside.jpg")
    out = tmp_path / "shards"
    write(db, out, "--shard-samples", 2)
    moved.rename(victim)
    report = json.loads(write(db, out, "--shard-samples", 2, "--retry-bad", "--json").stdout)
    assert report["written"] == 1
    assert report["outcomes"] == {"ok": 12}


def test_another_dataset_is_not_touched(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write(db, out, "--label", "family")
    before = shard_hashes(out)
    refused = write(db, out, "--label", "species", code=2)
    assert "holds another dataset" in refused.stderr
    assert "(label family, now species)" in refused.stderr
    resized = write(db, out, "--label", "family", "--size", "32x48", "--text", "sci,com", code=2).stderr
    assert "size 64x64, now 32x48" in resized
    assert "texts none, now sci,com" in resized
    assert shard_hashes(out) == before
    write(db, out, "--label", "species", "--replace")
    assert "Bison bison" in (out / "classes.txt").read_text()


@pytest.mark.parametrize("change", [("--size", "32"), ("--quality", "30"), ("--format", "png"), ("--members", "json")])
def test_replace_writes_again_what_the_options_change(db: Path, tmp_path: Path, change: tuple[str, str]) -> None:
    write(db, tmp_path / "one" / "shards", "--label", "family")
    write(db, tmp_path / "two" / "shards", "--label", "family", *change)
    write(db, tmp_path / "one" / "shards", "--label", "family", *change, "--replace")
    assert shard_hashes(tmp_path / "one" / "shards") == shard_hashes(tmp_path / "two" / "shards")


def test_a_torn_receipt_costs_no_shard(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write(db, out)
    before = shard_hashes(out)
    receipt = next((out / ".shardforge" / "shards").glob("*000001.tar.json"))
    receipt.rename(receipt.with_name(f".{receipt.name}.host.1.tmp"))
    write(db, out)
    assert shard_hashes(out) == before


def test_a_split_named_twice_is_written_once(db: Path, tmp_path: Path) -> None:
    write(db, tmp_path / "shards", "--splits", "train,train")
    assert manifest(tmp_path / "shards")["splits"]["train"]["num_samples"] == 36


def test_a_damaged_plan_is_made_anew(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write(db, out, "--label", "family")
    before = shard_hashes(out)
    plan = out / ".shardforge" / "plan.parquet"
    plan.write_bytes(b"PAR1")
    assert "another one" in write(db, out, "--label", "species", code=2).stderr
    write(db, out, "--label", "family")
    assert shard_hashes(out) == before
    run("verify", out, "--workers", 0)


def test_a_lost_plan_is_made_anew(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write(db, out, "--label", "family")
    before = shard_hashes(out)
    (out / ".shardforge" / "plan.parquet").unlink()
    assert "another one" in write(db, out, "--label", "species", code=2).stderr
    write(db, out, "--label", "family")
    assert shard_hashes(out) == before


def test_what_a_killed_run_left_behind_is_removed(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    (out / ".shardforge" / "tmp").mkdir(parents=True)
    (out / ".shardforge" / "tmp" / "._info.json.host.1.tmp").write_text("{")
    write(db, out)
    assert not (out / ".shardforge" / "tmp").exists()
    assert (out / ".shardforge" / "lock").read_text() == ""


def test_replace_removes_shards_that_are_no_longer_planned(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write(db, out)
    write(db, out, "--splits", "train", "--shard-samples", 20, "--replace")
    names = ["shards-train-000000.tar", "shards-train-000001.tar"]
    assert list(shard_hashes(out)) == [f"train/{name}" for name in names]
    assert not (out / "validation").exists()
    assert [path.name for path in (out / "index").iterdir()] == ["train.parquet"]
    receipts = sorted(path.name for path in (out / ".shardforge" / "shards").iterdir())
    assert receipts == [f"{name}.json" for name in names]
    indices = [path for path in (out / "train").iterdir() if path.name.endswith(".shardforge-index")]
    assert len(indices) == 1
    run("verify", out / "_info.json", "--workers", 0)


def test_a_folder_with_other_things_is_refused(db: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert "thesis.tex" in write(db, tmp_path / "mine", code=2).stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_file_is_no_place_for_a_dataset(db: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    assert "mine' is a file" in write(db, tmp_path / "mine", code=2).stderr
    with pytest.raises(UsageError, match="mine: is a file; --out must be a folder"):
        check_place(Layout(tmp_path / "mine"))
    assert (tmp_path / "mine").read_text() == "text"


def test_two_runs_at_once(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    with lock_dataset(Layout(out).lock):
        assert "is being written by process" in write(db, out, code=1).stderr


def test_full_disk_names_the_path_and_loses_nothing(db: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole" / "shards"
    write(db, whole)
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        full = write(db, small / "shards", code=1)
        assert "no space left on the device" in full.stderr
        assert str(small / "shards") in full.stderr
        kept = shard_hashes(small / "shards")
        assert kept
        assert kept.items() <= shard_hashes(whole).items()
        subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
        write(db, small / "shards")
        assert shard_hashes(small / "shards") == shard_hashes(whole)
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_unwritable_output(photos: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        db = prepare(Path(folder), f"photos=table:{photos / 'photos.csv'}")
        Path(folder).chmod(0o755)
        code = "main(['write', '--db', sys.argv[1], '--out', sys.argv[2], '--workers', '0'])"
        refused = as_nobody(code, db, Path(folder) / "shards")
    assert refused.returncode == 1, refused.stderr
    assert f"{folder}/shards" in refused.stderr
    assert "not writable" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resize", "crop"], "needs a --size"),
        (["--size", "224", "--resize", "none"], "contradicts"),
        (["--upscale"], "needs a --size"),
        (["--label", "none", "--members", "cls"], "needs labels"),
        (["--label", "colour"], "no such column"),
        (["--members", "cls,cls", "--label", "family"], "twice"),
        (["--members", "xml"], "not known"),
        (["--splits", "dev"], "it has train, validation"),
        (["--split-run", "other"], "has no split run called other; it has default"),
        (["--size", "large"], "not a size in pixels"),
        (["--shard-bytes", "many"], "not a size"),
        (["--max-bad", "120%"], "neither a share nor a number"),
        (["--label", "url.x"], "no such column"),
        (["--name", "a/b"], "becomes part of file names"),
        (["--name", "a" * 101], "becomes part of file names"),
    ],
)
def test_contradictions_are_one_sentence(db: Path, tmp_path: Path, options: list[str], message: str) -> None:
    result = run("write", "--db", db, "--out", tmp_path / "shards", "--workers", 0, *options, code=2)
    assert message in result.stderr
    assert not (tmp_path / "shards" / "_info.json").exists()


def test_records_without_the_label_are_left_out_and_counted(db: Path, tmp_path: Path) -> None:
    report = json.loads(write(db, tmp_path / "shards", "--label", "order", "--json").stdout)
    assert report["outcomes"] == {"ok": 43, "no_label": 2}


def test_subset_is_written_as_a_split(tmp_path: Path, photos: Path) -> None:
    db = prepare(
        tmp_path, f"p=table:{photos / 'photos.csv'}", "--rule", "exact", "--val-split", 20, "--subset", "train_small=40"
    )
    out = tmp_path / "shards"
    write(db, out, "--splits", "train,validation,train_small")
    counts = {name: split["num_samples"] for name, split in manifest(out)["splits"].items()}
    assert 0 < counts["train_small"] < counts["train"]
    small = set(pq.read_table(out / "index" / "train_small.parquet")["key"].to_pylist())
    assert small < set(pq.read_table(out / "index" / "train.parquet")["key"].to_pylist())


def test_shards_are_cut_by_bytes(tmp_path: Path, image_tree: Path) -> None:
    db = prepare(tmp_path, f"tree=folder:{image_tree}")
    out = tmp_path / "shards"
    run("write", "--db", db, "--out", out, "--passthrough", "--shard-bytes", "20K", "--workers", 0)
    lengths = manifest(out)["splits"]["train"]["shard_lengths"]
    assert len(lengths) > 1
    assert all(path.stat().st_size < 30_000 for path in out.glob("train/*.tar"))


def test_passthrough_copies_bytes(tmp_path: Path, image_tree: Path) -> None:
    db = prepare(tmp_path, f"tree=folder:{image_tree}")
    out = tmp_path / "shards"
    run("write", "--db", db, "--out", out, "--passthrough", "--workers", 0)
    originals = {path.read_bytes() for path in image_tree.glob("*/*.jpg")}
    packed = set()
    for shard in out.glob("*/*.tar"):
        with tarfile.open(shard) as tar:
            packed |= {tar.extractfile(name).read() for name in tar.getnames() if name.endswith(".jpg")}
    assert originals < packed


def test_dry_run_writes_nothing(db: Path, tmp_path: Path) -> None:
    plan = json.loads(write(db, tmp_path / "shards", "--dry-run", "--json").stdout)
    assert sum(shard["samples"] for shard in plan["shards"]) == 45
    assert not (tmp_path / "shards").exists()


def test_order_is_a_seeded_shuffle(db: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        write(db, tmp_path / str(seed) / "shards", "--seed", seed)
        keys = pq.read_table(tmp_path / str(seed) / "shards" / "index" / "train.parquet")["key"].to_pylist()
        assert len(keys) == 36
        assert keys == sorted(keys, key=lambda key: hashlib.sha256(f"{seed}:order:{key}".encode()).digest())


@pytest.fixture
def hostile_db(tmp_path: Path, image_tree: Path) -> Path:
    """The mapping of the tree, split, with hostile images named after what they do."""
    for action in ("segfault", "hang", "memory", "unforeseen"):
        make_hostile(image_tree / "birds" / f"{action}.jpg", action)
    return prepare(tmp_path, f"tree=folder:{image_tree}", "--rule", "exact", "--val-split", 20)


def write_hostile(db: Path, out: Path, *, workers: int = 2, **choices: Any) -> WriteReport:
    with HostileExecutor(workers, item_seconds=2) as executor:
        options = WriteOptions("shards", Conversion((32, 32), codec="pillow"), label="label", shard_samples=6)
        return write_dataset(db, out, options, executor, budget=Budget(count=100), **choices)


def test_images_that_kill_or_starve_their_reader_cost_themselves_alone(tmp_path: Path, hostile_db: Path) -> None:
    out = tmp_path / "shards"
    report = write_hostile(hostile_db, out)
    lasting = {"reader_killed": 1, "internal_error": 1, "out_of_memory": 1}
    assert report.outcomes == {"ok": 12, **lasting, "timed_out": 1}
    assert report.passing == {"timed_out": 1}
    assert report.faults == ["tree:birds/unforeseen.jpg: ValueError: nobody thought of this"]
    with duckdb.connect(str(hostile_db), read_only=True) as connection:
        notes = dict(connection.sql("SELECT i.path, n.note FROM notes AS n JOIN images AS i USING (key)").fetchall())
    assert "SIGSEGV" in notes["birds/segfault.jpg"]
    assert "SIGALRM" in notes["birds/hang.jpg"]
    again = write_hostile(hostile_db, out)
    assert again.outcomes == {"ok": 12, **lasting, "too_slow": 1}
    assert (again.kept, again.written) == (3, 1)
    for path in out.glob("*/*.tar"):
        path.unlink()
    assert write_hostile(hostile_db, out, workers=1).outcomes == {"ok": 12, **lasting, "timed_out": 1}


def test_images_that_were_away_come_back(tmp_path: Path, image_tree: Path) -> None:
    db = prepare(tmp_path, f"tree=folder:{image_tree}")
    whole, out = tmp_path / "whole", tmp_path / "shards"
    write(db, whole, "--name", "shards")
    away = tmp_path / "away"
    away.mkdir()
    (image_tree / "birds" / "1.jpg").rename(away / "1.jpg")
    (image_tree / "fish").rename(away / "fish")
    (image_tree / "fish").write_text("a file where a folder was")
    first = write(db, out, "--name", "shards")
    assert "for a reason that may pass: 5 vanished" in first.stderr
    problems = run("verify", out, "--db", db, "--workers", 0, code=1).stderr
    assert "expected images in the shards, found 5 vanished" in problems
    before = shard_hashes(out)
    assert "0 shards written" in write(db, out, "--name", "shards").stdout
    assert shard_hashes(out) == before
    (image_tree / "fish").unlink()
    (away / "fish").rename(image_tree / "fish")
    (away / "1.jpg").rename(image_tree / "birds" / "1.jpg")
    write(db, out, "--name", "shards")
    assert shard_hashes(out) == shard_hashes(whole)
    run("verify", out, "--db", db, "--workers", 0)


@pytest.mark.parametrize("kind", ["folder", "wds", "zip"])
def test_content_that_is_not_the_mappings_is_not_written(tmp_path: Path, image_tree: Path, kind: str) -> None:
    root: Path = image_tree
    if kind == "wds":
        root = tmp_path / "t.tar"
        with tarfile.open(root, "w") as archive:
            archive.add(image_tree / "fish" / "0.jpg", "0.jpg")
            archive.add(image_tree / "fish" / "1.jpg", "1.jpg")
    source = f"s={kind}:{root}"
    if kind == "zip":
        root = tmp_path / "t.zip"
        with zipfile.ZipFile(root, "w") as archive:
            archive.write(image_tree / "fish" / "0.jpg", "1_1_eol.jpg")
            archive.write(image_tree / "fish" / "1.jpg", "2_2_eol.jpg")
        source = f"s=eol:{root}"
    db = prepare(tmp_path, source, "--rule", "exact", "--val-split", 50)
    file = image_tree / "fish" / "0.jpg" if kind == "folder" else root
    status = file.stat()
    data = bytearray(file.read_bytes())
    place = data.index((image_tree / "fish" / "0.jpg").read_bytes()[-200:-150])
    data[place] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = json.loads(write(db, tmp_path / "shards", "--label", "none", "--json").stdout)
    # A zip knows the CRC-32 of its entries.
    assert report["passing"] == {"changed": 1} or (kind == "zip" and report["outcomes"]["corrupt"] == 1)
    assert sum(report["outcomes"].values()) == (12 if kind == "folder" else 2)
