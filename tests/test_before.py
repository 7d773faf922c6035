"""A mapping and a dataset that 0.1.0 wrote are gone on with; tests/data/README.md says what they hold."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pipeline import Outcome, manifest, run, shard_hashes

from shardforge.dataset import options as options_of
from shardforge.dataset.layout import Layout
from shardforge.dataset.options import WriteOptions
from shardforge.dataset.place import check_same, settle_options
from shardforge.dataset.plan import read_plan
from shardforge.errors import UsageError
from shardforge.images import convert
from shardforge.images.convert import Conversion, codec_versions
from shardforge.loader.dataset import ShardDataset

ARCHIVE = Path(__file__).parent / "data" / "written-by-0.1.0.tar.gz"
SHARD = "train/shards-train-000001.tar"


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unpack what 0.1.0 wrote."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "before"
    shutil.unpack_archive(ARCHIVE, folder, filter="data")
    return folder


def find_sources(folder: Path, engine: str = "duckdb") -> Path:
    """Tell a mapping where the images are now; return it."""
    db = folder / f"mapping.{engine}"
    source = ("--source", f"photos=folder:{folder / 'images'}", "--option", "photos.label=parent")
    run("map", "--db", db, *source, "--workers", 0)
    return db


def write(db: Path, *more: object, code: int = 0) -> Outcome:
    options = ("--size", 32, "--shard-samples", 6, "--workers", 0)
    return run("write", "--db", db, "--out", db.parent / "shards", *options, *more, code=code)


def files_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("level", ["size", "checksum", "decode"])
def test_it_verifies_clean_and_nothing_is_written(level: str, before: Path) -> None:
    found = files_of(before / "shards")
    silent = run("verify", before / "shards", "--level", level, "--workers", 0)
    assert (silent.stdout, silent.stderr) == ("", "")
    assert files_of(before / "shards") == found


@pytest.mark.parametrize("engine", ["duckdb", "sqlite"])
def test_write_goes_on_and_keeps_every_shard(engine: str, before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, db = before / "shards", find_sources(before, engine)
    hashes, content = shard_hashes(out), manifest(out)
    report = json.loads(write(db, "--json").stdout)
    assert (report["written"], report["kept"], report["outcomes"]) == (0, 4, {"ok": 23, "truncated": 1})
    assert shard_hashes(out) == hashes
    assert manifest(out)["shardforge"]["plan_sha256"] == content["shardforge"]["plan_sha256"]
    run("verify", out, "--db", db, "--workers", 0)
    monkeypatch.setattr(convert, "REVISION", "another")
    assert json.loads(write(db, "--json").stdout)["kept"] == 4
    run("catalog", out)
    run("card", out, "--db", db)
    run("verify", out, "--db", db, "--workers", 0)


def test_the_loader_reads_it_and_makes_the_index_anew(before: Path) -> None:
    former = {path: path.read_bytes() for path in (before / "shards").rglob(".*.shardforge-index")}
    for split in ("train", "validation"):
        dataset = ShardDataset(before / "shards", split=split)
        assert len(dataset) == manifest(before / "shards")["splits"][split]["num_samples"]
        assert all(dataset.classes[sample["cls"]] == sample["json"]["label"] for sample in dataset)
        assert [dataset.find(key) for key in dataset.keys] == list(range(len(dataset)))
        assert dataset.index.path not in former
    assert not any(path.exists() for path in former)


def test_the_loader_reads_it_where_nothing_can_be_written(before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former = {path: path.read_bytes() for path in (before / "shards").rglob(".*.shardforge-index")}
    monkeypatch.setattr("os.access", lambda *asked, **how: False)  # root may write anywhere
    dataset = ShardDataset(before / "shards", split="train")
    assert dataset.index.path.is_relative_to(before.parent / "cache")
    assert {path: path.read_bytes() for path in former} == former


def test_a_missing_shard_comes_back_or_is_refused_where_its_converter_is_gone(before: Path) -> None:
    out, db = before / "shards", find_sources(before)
    hashes = shard_hashes(out)
    (out / SHARD).unlink()
    if read_plan(Layout(out).plan).options.encoder == codec_versions("fast"):
        assert json.loads(write(db, "--json").stdout)["written"] == 1
        (out / SHARD).unlink()
        run("verify", out, "--repair", "--workers", 0)  # the sources are where that run found them
        assert shard_hashes(out) == hashes
        assert "receipt:sha256" in Layout(out).receipt(SHARD).read_text()
        run("verify", out, "--db", db, "--workers", 0)
    else:
        assert "has to be written, and its dataset was converted otherwise" in write(db, code=1).stderr


@pytest.fixture
def upgraded(before: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with a converter of a later revision."""
    monkeypatch.setattr(convert, "REVISION", "another")
    return before


def test_what_a_converter_that_is_gone_would_have_to_make_is_refused(upgraded: Path) -> None:
    out, db = upgraded / "shards", find_sources(upgraded)
    (out / SHARD).unlink()
    found = files_of(out)
    refused = write(db, code=1).stderr
    assert f"{SHARD}: has to be written" in refused
    assert "conversion 1, here another" in refused
    assert "write all of it anew with --replace, or install what it was written with" in refused
    kept = files_of(out)
    assert {path: kept[path] for path in found if "plan" not in path} == {
        path: data for path, data in found.items() if "plan" not in path
    }
    unmended = run("verify", out, "--repair", "--workers", 0, code=1)
    assert "conversion 1, here another" in unmended.stderr
    assert "written again" not in unmended.stderr
    assert not (out / SHARD).exists()
    assert json.loads(write(db, "--replace", "--json").stdout)["written"] == 4
    assert manifest(out)["shardforge"]["options"]["encoder"]["conversion"] == "another"
    run("catalog", out)
    run("verify", out, "--db", db, "--workers", 0)


def test_a_dataset_that_was_begun_before_is_not_ended_by_another_converter(upgraded: Path) -> None:
    out, db = upgraded / "shards", find_sources(upgraded)
    (out / "_info.json").unlink()
    (out / SHARD).unlink()
    Layout(out).receipt(SHARD).unlink()
    hashes = shard_hashes(out)
    assert "conversion 1, here another" in write(db, code=1).stderr
    assert "conversion 1, here another" in write(db, "--shards", "1-1", code=1).stderr
    assert json.loads(write(db, "--shards", "0-0", "--json").stdout)["kept"] == 1
    assert shard_hashes(out) == hashes
    assert not (out / "_info.json").exists()


def test_images_are_not_tried_again_by_another_converter(upgraded: Path) -> None:
    db = find_sources(upgraded)
    hashes = shard_hashes(upgraded / "shards")
    assert "conversion 1, here another" in write(db, "--retry-bad", code=1).stderr
    assert shard_hashes(upgraded / "shards") == hashes


@pytest.mark.parametrize("lost", ["plan", "plan and manifest"])
def test_a_lost_plan_is_judged_by_the_manifest(lost: str, upgraded: Path) -> None:
    out, db = upgraded / "shards", find_sources(upgraded)
    hashes = shard_hashes(out)
    Layout(out).plan.unlink()
    if lost == "plan":
        assert json.loads(write(db, "--json").stdout)["kept"] == 4
        assert shard_hashes(out) == hashes
    else:
        (out / "_info.json").unlink()
        assert "is not empty and was not written by shardforge" in write(db, code=2).stderr


@pytest.mark.parametrize(
    ("option", "difference"),
    [
        (("--quality", 80), "(quality 90, now 80)"),
        (("--label", "none"), "(label label, now none; members cls,json, now json)"),
        (("--seed", 3), "(seed 17, now 3)"),
    ],
)
def test_other_options_are_another_dataset(option: tuple[object, ...], difference: str, upgraded: Path) -> None:
    db = find_sources(upgraded)
    found = files_of(upgraded / "shards")
    refused = write(db, *option, code=2).stderr
    assert "holds another dataset" in refused
    assert difference.strip("()") in refused
    assert files_of(upgraded / "shards") == found


@dataclass(frozen=True, slots=True)
class LaterConversion(Conversion):
    """A conversion with options that 0.1.0 did not have."""

    colour: str = "srgb"
    depths: tuple[int, ...] = (8, 16)


def test_options_that_a_plan_lacks_count_as_their_defaults(before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, db = before / "shards", find_sources(before)
    monkeypatch.setattr(convert, "Conversion", LaterConversion)
    monkeypatch.setattr(options_of, "Conversion", LaterConversion)
    hashes = shard_hashes(out)
    assert json.loads(write(db, "--json").stdout)["kept"] == 4
    assert shard_hashes(out) == hashes
    run("verify", out, "--db", db, "--workers", 0)
    there = read_plan(Layout(out).plan)
    assert there.options.conversion == LaterConversion(size=(32, 32))
    asked = replace(there.options, conversion=LaterConversion(size=(32, 32), colour="keep"))
    assert settle_options(Layout(out), asked) == asked
    with pytest.raises(UsageError, match=r"holds another dataset \(colour srgb, now keep\)"):
        check_same(Layout(out), replace(there, options=asked))


def test_later_options_stand_apart_from_those_that_0_1_0_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = WriteOptions("x", label="genus", conversion=Conversion(size=(3, 4)))
    monkeypatch.setattr(options_of, "Conversion", LaterConversion)
    usual = WriteOptions("x", label="genus", conversion=LaterConversion(size=(3, 4)))
    asked = WriteOptions("x", label="genus", conversion=LaterConversion(size=(3, 4), colour="keep", depths=(8,)))
    assert usual.to_json() == plain.to_json()
    assert list(usual.to_json()["conversion"]) == list(plain.to_json()["conversion"])
    first, later = asked.to_stored()
    assert first == plain.to_json()
    assert later == {"conversion": {"colour": "keep", "depths": [8]}}
    assert asked.to_json()["conversion"] == first["conversion"] | later["conversion"]
    assert WriteOptions.from_json(first, later) == WriteOptions.from_json(asked.to_json()) == asked
