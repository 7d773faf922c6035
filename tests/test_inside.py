"""Paths that were read from a file: nothing outside of its folder is written, moved, deleted or, untrusted, read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pipeline import manifest, prepare, shard_hashes, write

from shardforge import inside
from shardforge.cli import main
from shardforge.dataset.index import index_schema, write_index
from shardforge.dataset.layout import Layout
from shardforge.dataset.plan import read_plan, read_planned_rows
from shardforge.errors import DatasetError, ManifestError, UsageError
from shardforge.files import atomic_write
from shardforge.inside import leads_out, move_inside, open_folder, remove_inside
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.inputs import open_inputs
from shardforge.parquet import write_parquet

SHARD = "train/shards-train-000001.tar"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A folder with mapping.duckdb and a dataset of 45 photos in four shards."""
    folder = tmp_path_factory.mktemp("pristine")
    db = prepare(folder, f"photos=table:{photos / 'photos.csv'}")
    write(db, folder / "home" / "shards", "--label", "family", "--shard-samples", 16)
    return folder


@pytest.fixture
def home(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, with things outside of the dataset that nobody may touch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = Path(shutil.copytree(pristine, tmp_path / "copy"))
    for name in ("thesis.txt", "sizes.json", "tmp/thesis.txt", "other/shards-train-000007.tar", "other/x.parquet"):
        path = home / "home" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    return home


def attempt(*arguments: object) -> Result:
    """Run a command that may fail, but not by a traceback."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def outside(home: Path) -> dict[str, bytes | str]:
    """Return what lies beside the dataset."""
    found: dict[str, bytes | str] = {}
    for path in sorted(home.joinpath("home").rglob("*")):
        if not path.is_relative_to(home / "home" / "shards") and not path.is_dir():
            found[str(path)] = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return found


def replant(place: Path, new: Path) -> None:
    """Put a link to `new` where a folder was, whose files move there."""
    place.mkdir(exist_ok=True)
    for path in place.iterdir():
        shutil.move(path, new / path.name)
    place.rmdir()
    place.symlink_to(new)


def plant_receipt(path: str, name: str = "zz.json") -> Callable[[Path], None]:
    def plant(out: Path) -> None:
        content = json.loads(next(Layout(out).receipts.glob("*.json")).read_bytes())
        del content["notes"]["receipt:sha256"]
        text = json.dumps(content | {"path": path}, ensure_ascii=False)  # as 0.1.0 wrote it
        (Layout(out).receipts / name).write_text(text)

    return plant


def doctor_plan(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Return a damage: a plan with right checksums that says something else."""

    def damage(out: Path) -> None:
        place = Layout(out).plan
        plan = read_plan(place)
        options, later = plan.options.to_stored()
        stored = {
            "schema": 1, "options": options, "later": later, "version": plan.version, "roots": plan.roots,
            "classes": plan.classes, "shards": [dict(vars(shard)) for shard in plan.shards],
        }  # fmt: skip
        change(stored)
        tables = [read_planned_rows(place, shard.row_group) for shard in plan.shards]
        place.unlink()
        with open(place, "wb") as file, write_parquet(file, tables[0].schema) as writer:
            for table in tables:
                writer.write(table)
            writer.describe({b"shardforge": json.dumps(stored).encode()})
        (out / SHARD).unlink()

    return damage


def move_shard(path: str) -> Callable[[dict], object]:
    return lambda stored: stored["shards"][1].update(path=path)


def doctor_manifest(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(out: Path) -> None:
        content = manifest(out)
        change(content)
        (out / "_info.json").write_text(json.dumps(content))
        shutil.rmtree(Layout(out).private)

    return damage


def name_shard(path: str) -> Callable[[dict], object]:
    return lambda content: content["splits"]["train"]["filenames"].__setitem__(1, path)


def link_folder(name: str) -> Callable[[Path], None]:
    return lambda out: replant(out / name, out.parent / "other")


HOSTILE: dict[str, Callable[[Path], None]] = {
    "receipt above": plant_receipt("../thesis.txt"),
    "receipt far above": plant_receipt("../other/shards-train-000007.tar", "shards-train-000007.tar.json"),
    "receipt through": plant_receipt("train/../../thesis.txt"),
    "receipt of a name with a NUL": plant_receipt("train/\0"),
    "receipt of a name that is too long": plant_receipt("train/" + "x" * 5_000),
    "receipt of a name with a line break": plant_receipt("train/a\n../../thesis.txt"),
    "receipt of the manifest": plant_receipt("_info.json", "_info.json.json"),
    "plan above": doctor_plan(move_shard("../other/shards-train-000001.tar")),
    "plan absolute": doctor_plan(move_shard("/tmp/shards-train-000001.tar")),
    "plan of a split above": doctor_plan(
        lambda stored: stored["shards"][1].update(split="../other", path="../other/shards-../other-000001.tar")
    ),
    "plan of a name above": doctor_plan(lambda stored: stored["options"].update(name="../../x")),
    "manifest above": doctor_manifest(name_shard("../other/shards-train-000007.tar")),
    "index of the split ..": lambda out: shutil.copy(out / "index/train.parquet", out / "index/...parquet"),
    "folder of a split elsewhere": link_folder("train"),
    "folder of the index elsewhere": link_folder("index"),
    "private folder elsewhere": link_folder(".shardforge"),
    "receipts elsewhere": link_folder(".shardforge/shards"),
    "scratch elsewhere": link_folder(".shardforge/tmp"),
    "set-aside elsewhere": link_folder(".shardforge/set_aside"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_outside_is_touched(name: str, home: Path) -> None:
    out, db = home / "home" / "shards", home / "mapping.duckdb"
    shutil.copy(out / SHARD, out / "train" / "shards-train-000099.tar")  # one for repair to move
    HOSTILE[name](out)
    before = outside(home)
    write_options = ("--size", 64, "--label", "family", "--workers", 0)
    for command in (
        ("write", "--db", db, "--out", out, *write_options, "--shard-samples", 16),
        ("verify", out, "--repair", "--workers", 0),
        ("catalog", out),
        ("card", out),
        ("index", out, "--split", "train", "--dali", "--workers", 0),
        ("write", "--db", db, "--out", out, *write_options, "--shard-samples", 30, "--replace"),
    ):
        attempt(*command)
        assert outside(home) == before, command


def test_a_receipt_decides_over_its_own_shard_alone(home: Path) -> None:
    out = home / "home" / "shards"
    plant_receipt("train/shards-train-000099.tar", "another.json")(out)
    (out / "train" / "shards-train-000099.tar").touch()
    options = ("--label", "family", "--shard-samples", 16)
    write(home / "mapping.duckdb", out, *options)
    assert (out / "train" / "shards-train-000099.tar").exists()
    plant_receipt("train/shards-train-000099.tar", "shards-train-000099.tar.json")(out)
    write(home / "mapping.duckdb", out, *options)
    assert not (out / "train" / "shards-train-000099.tar").exists()
    assert not (Layout(out).receipts / "shards-train-000099.tar.json").exists()


def test_names_that_are_one_file_to_the_file_system_are_one(home: Path) -> None:
    """A hard link under the other name is what a file system that ignores case shows of a shard."""
    out = home / "home" / "shards"
    twin = SHARD.replace("/shards", "/Shards")
    os.link(out / SHARD, out / twin)
    plant_receipt(twin, f"{Path(twin).name}.json")(out)
    assert attempt("verify", out, "--workers", 0).stdout == ""  # no tar too many
    write(home / "mapping.duckdb", out, "--label", "family", "--shard-samples", 16)
    assert (out / SHARD).exists()
    assert (out / twin).exists()
    (out / twin).unlink()
    shutil.copy(out / SHARD, out / twin)
    plant_receipt(twin, f"{Path(twin).name}.json")(out)
    assert "shard_extra" in attempt("verify", out, "--workers", 0).stderr
    write(home / "mapping.duckdb", out, "--label", "family", "--shard-samples", 16)
    assert not (out / twin).exists()


@pytest.mark.parametrize("kind", ["hub", "annex", "absolute"])
def test_a_folder_of_links_works_and_what_they_lead_to_stays(kind: str, home: Path) -> None:
    out, db = home / "home" / "shards", home / "mapping.duckdb"
    before = shard_hashes(out)
    blobs = (out if kind == "annex" else home) / ".objects"
    blobs.mkdir()
    for path in sorted(path for path in out.rglob("*") if path.is_file() and not path.is_relative_to(blobs)):
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.move(path, blob)
        blob.chmod(0o444)
        path.symlink_to(blob if kind == "absolute" else os.path.relpath(blob, path.parent))
    held = {path.name: path.read_bytes() for path in blobs.iterdir()}
    assert attempt("verify", out, "--workers", 0, "--level", "decode").output == ""
    assert len(ShardDataset(out, split="train")) == manifest(out)["splits"]["train"]["num_samples"]
    for command in (
        ("index", out, "--split", "train", "--workers", 0, "--dali"),
        ("write", "--db", db, "--out", out, "--size", 64, "--label", "family", "--workers", 0, "--shard-samples", 16),
        ("catalog", out),
        ("card", out),
    ):
        assert attempt(*command).exit_code == 0, command
    (out / SHARD).unlink()
    (out / SHARD).symlink_to(blobs / "gone")
    (out / "train" / "shards-train-000099.tar").symlink_to(blobs / next(iter(held)))
    assert attempt("verify", out, "--workers", 0, "--repair").exit_code == 0
    assert shard_hashes(out) == before
    assert {path.name: path.read_bytes() for path in blobs.iterdir()} == held


def test_indexes_are_not_put_beside_shards_that_lie_elsewhere(home: Path, tmp_path: Path) -> None:
    out, elsewhere = home / "home" / "shards", home / "home" / "other"
    for path in (out / "train").glob(".*"):
        path.unlink()
    link_folder("train")(out)
    before = outside(home)
    assert ShardDataset(out, split="train").index.path.is_relative_to(tmp_path / "cache")
    assert outside(home) == before
    assert ShardDataset(sorted(elsewhere.glob("*-00000[0-2].tar"))).index.path.parent == elsewhere  # as was named


FOLDER = "/data/shards"
URL = "https://example.org/data/shards"


@pytest.mark.parametrize(
    ("name", "folder", "outside"),
    [
        ("train/a.tar", FOLDER, False),
        ("./train//a.tar", FOLDER, False),
        ("..a.tar", FOLDER, False),
        ("a..tar", "", False),
        ("../a.tar", FOLDER, True),
        ("train/../a.tar", FOLDER, True),
        ("train/..", FOLDER, True),
        ("..\\a.tar", FOLDER, True),
        ("/etc/passwd", FOLDER, True),
        ("/data/shards/a.tar", FOLDER, True),
        ("https://example.org/a.tar", FOLDER, True),
        ("file:///etc/passwd", FOLDER, True),
        ("", FOLDER, True),
        ("train/a.tar", URL, False),
        (f"{URL}/a.tar", URL, False),
        (f"{URL}/a.tar?signature=b/../c", URL, True),
        (f"{URL}/a.tar?signature=b", URL, False),
        ("HTTPS://EXAMPLE.org:443/data/shards/a.tar", "https://example.org:443/data/shards", False),
        ("https://me:secret@example.org/data/shards/a.tar", URL, False),
        (f"{URL}/../a.tar", URL, True),
        (f"{URL}/%2e%2e/a.tar", URL, True),
        ("%2e%2e/a.tar", URL, True),
        ("https://example.org/data/shards-of-others/a.tar", URL, True),
        ("https://example.org/data/a.tar", URL, True),
        ("https://example.org:81/data/shards/a.tar", URL, True),
        ("http://example.org/data/shards/a.tar", URL, True),
        ("https://example.org@evil.org/data/shards/a.tar", URL, True),
        ("https://evil.org/data/shards/a.tar", URL, True),
        ("https://example.org:x/data/shards/a.tar", URL, True),
        ("/etc/passwd", URL, True),
        ("a.tar::file:///etc/passwd", URL, True),
        ("simplecache::https://example.org/data/shards/a.tar", URL, True),
        ("s3://bucket/data/a.tar", "s3://bucket/data", False),
        ("s3://other/data/a.tar", "s3://bucket/data", True),
    ],
)
def test_names_that_lead_out(name: str, folder: str, outside: bool) -> None:
    assert leads_out(name, folder) == outside


NAMES = ["../thesis.txt", "/etc/passwd", "https://127.0.0.1:9/classes.txt", "train/../../thesis.txt"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "place",
    [
        ("shardforge", "classes", "file"),
        ("shardforge", "index", "train"),
        ("splits", "train", "filenames", 0),
        ("splits", "training", "filenames", 0),
    ],
    ids=str,
)
def test_an_untrusted_manifest_names_nothing_elsewhere(name: str, place: tuple, home: Path) -> None:
    out = home / "home" / "shards"
    content = manifest(out)
    *way, last = place
    part = content
    for step in way:
        part = part[step]
    part[last] = name
    (out / "_info.json").write_text(json.dumps(content))
    with pytest.raises(ManifestError, match=r"which may lie outside of its folder; .* give --trust \(trust=True"):
        open_inputs(out, split="train")
    shutil.rmtree(Layout(out).private)
    for command in (
        ("verify", out, "--workers", 0),
        ("index", out, "--split", "train", "--workers", 0),
        ("bench-loader", out, "--split", "train", "--seconds", 0),
        ("leaks", "--db", home / "mapping.duckdb", "--against", out, "--workers", 0),
    ):
        refused = attempt(*command)
        assert refused.exit_code == 1
        assert "give --trust" in refused.stderr


@pytest.mark.parametrize("name", ["a\nb.tar", "a\0.tar", "\udc80\ud800.tar", "", 3, None])
def test_names_that_no_line_can_hold(name: object, home: Path) -> None:
    out = home / "home" / "shards"
    doctor_manifest(name_shard(name))(out)  # type: ignore[arg-type]
    refused = attempt("verify", out, "--workers", 0)
    assert refused.exit_code == 1
    assert "_info.json: split train: filenames" in refused.stderr


def test_a_trusted_manifest_is_read(home: Path) -> None:
    out, other = home / "home" / "shards", home / "home" / "other"
    (out / SHARD).rename(other / "moved.tar")
    (out / "classes.txt").rename(other / "classes.txt")
    content = manifest(out)
    name_shard("../other/moved.tar")(content)
    content["shardforge"]["classes"]["file"] = str(other / "classes.txt")
    (out / "_info.json").write_text(json.dumps(content))
    shutil.rmtree(Layout(out).private)
    before = outside(home)
    dataset = ShardDataset(out, split="train", trust=True)
    assert list(dataset.classes or ()) == (other / "classes.txt").read_text().splitlines()
    assert len({sample["__key__"] for sample in dataset}) == len(dataset)
    found = attempt("verify", out, "--workers", 0, "--trust")
    assert "moved.tar" not in found.output
    refused = attempt("index", out, "--split", "train", "--trust", "--dali", "--workers", 0)
    assert "does not lie inside" in refused.stderr
    assert outside(home) == before


@pytest.mark.parametrize(
    "content", [{"base": ".."}, {"base": "https://127.0.0.1:9"}, {"url": "../a.tar"}, {"url": "/a.tar"}]
)
def test_shard_indexes_of_wids_are_held_to_it_too(content: dict, tmp_path: Path) -> None:
    listed = {"url": content.pop("url", "a.tar"), "nsamples": 3}
    (tmp_path / "index.json").write_text(json.dumps({"wids_version": 1, "shardlist": [listed], **content}))
    with pytest.raises(ManifestError, match="give --trust"):
        open_inputs(tmp_path / "index.json")
    assert len(open_inputs(tmp_path / "index.json", trust=True).shards) == 1


@pytest.mark.parametrize("name", ["", ".", "..", "a/..", "../x", "/etc/passwd", "out/x", "loop/x", "x\0y", "/" * 9])
def test_files_are_moved_and_removed_inside_alone(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").mkdir()
    (root / "mine").touch()
    (root / "loop").symlink_to("loop")
    (root / "out").symlink_to(tmp_path)
    (tmp_path / "x").touch()
    with pytest.raises((DatasetError, OSError)):
        move_inside(root, name, "there")
    with pytest.raises((DatasetError, OSError)):
        move_inside(root, "mine", name)
    with suppress(DatasetError):
        assert not remove_inside(root, name)
    assert (root / "mine").exists()
    assert (tmp_path / "x").exists()


def test_links_inside_are_followed_and_last_ones_are_not(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "link").symlink_to("real")
    (tmp_path / "blob").write_text("blob")
    (root / "real" / "file").symlink_to(tmp_path / "blob")
    with atomic_write(root / "link" / "file", scratch=root / "scratch") as file:
        file.write(b"new")
    assert (root / "real" / "file").read_text() == "new"
    (root / "real" / "other").symlink_to(tmp_path / "blob")
    assert remove_inside(root, "link/other")
    assert not remove_inside(root, "link/other")
    assert not remove_inside(root, "x" * 300)
    assert not remove_inside(root, "real")
    assert (tmp_path / "blob").read_text() == "blob"


def test_a_link_that_is_put_there_meanwhile_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "train").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "a.tar").touch()
    resolve = inside._resolve

    def swap(root: Path, folder: Path) -> tuple[str, ...]:
        parts = resolve(root, folder)
        if parts:
            (root / "train").rename(root / "was")
            (root / "train").symlink_to(elsewhere)
        return parts

    monkeypatch.setattr(inside, "_resolve", swap)
    with pytest.raises(DatasetError, match="which does not lie inside of it; nothing is written, moved or deleted"):
        remove_inside(root, "train/a.tar")
    assert (elsewhere / "a.tar").exists()


def test_scratch_and_place_must_be_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tmp").symlink_to(tmp_path)
    with (
        pytest.raises(DatasetError, match="does not lie inside"),
        atomic_write(tmp_path / "out" / "file", scratch=tmp_path / "out" / "tmp"),
    ):
        raise AssertionError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with open_folder(tmp_path, tmp_path / "out") as folder:
        assert os.listdir(folder) == ["tmp"]


def test_a_list_of_tars_may_name_them_anywhere(tmp_path: Path) -> None:
    """It is what the user wrote down, as on the command line."""
    (tmp_path / "a.tar").touch()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.txt").write_text(f"../a.tar\n{tmp_path}/a.tar\n")
    assert len(open_inputs(tmp_path / "lists" / "list.txt").shards) == 2
    with pytest.raises(UsageError, match="matches no file"):
        open_inputs(tmp_path / "lists" / "none.tar")


def test_an_index_grows_in_the_private_folder_until_it_is_whole(tmp_path: Path) -> None:
    split, scratch = tmp_path / "out" / "index", tmp_path / "out" / "tmp"
    split.mkdir(parents=True)
    schema = index_schema(["jpg"])

    def tables() -> Iterator[pa.Table]:
        assert list(split.iterdir()) == []
        assert len(list(scratch.iterdir())) == 1
        yield schema.empty_table()

    write_index(split / "train.parquet", tables(), schema, scratch)
    assert [path.name for path in split.iterdir()] == ["train.parquet"]
    assert list(scratch.iterdir()) == []
