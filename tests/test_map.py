from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import HostileExecutor, make_hostile
from pipeline import as_nobody, open_to_all, run, unpack_before

from shardforge.executors import open_executor
from shardforge.mapping import open_mapping
from shardforge.mapping.known_sources import MetadataFile
from shardforge.mapping.staging import Changes
from shardforge.mapping.update import MapReport, map_sources
from shardforge.sources import parse_sources
from shardforge.sources.folder import FolderSource


@pytest.fixture(params=["duckdb", "sqlite"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"mapping.{request.param}"


def scan(db: Path, *sources: str | Path, workers: int = 0, **options: Any) -> MapReport:
    texts = [f"tree=folder:{source}" if isinstance(source, Path) else source for source in sources]
    with open_mapping(db, write=True, create=True) as mapping, open_executor("local", workers) as executor:
        return map_sources(mapping, parse_sources(texts), executor, **options)


def counts(changes: Changes) -> dict[str, int]:
    """Return the kinds of change that there were."""
    kinds = ("new", "changed", "unread", "described", "unchanged", "vanished")
    return {kind: getattr(changes, kind) for kind in kinds if getattr(changes, kind)}


def rows(db: Path, sql: str = "SELECT * FROM images ORDER BY key") -> list[tuple[Any, ...]]:
    with open_mapping(db) as mapping:
        return mapping.rows(sql)


def by_path(db: Path, columns: str) -> dict[str, Any]:
    found = rows(db, f"SELECT path, {columns} FROM images")
    return {path: values if len(values) > 1 else values[0] for path, *values in found}


def test_a_record_says_what_the_file_is(db: Path, image_tree: Path) -> None:
    scan(db, image_tree)
    file = image_tree / "fish" / "3.png"
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    found = by_path(db, "source, label, bytes, mtime, width, height, format, orientation, content_hash, reason")
    status = file.stat()
    assert found["fish/3.png"] == (
        ["tree", "fish", status.st_size, status.st_mtime_ns, 96, 72, "png", 1, sha[:32], None]
    )
    assert len(found) == 12


def test_a_second_run_changes_nothing(db: Path, image_tree: Path) -> None:
    (image_tree / "notes.txt").write_text("no image")
    first = scan(db, image_tree)
    before = rows(db), rows(db, "SELECT * FROM sources")
    with open_mapping(db, write=True) as mapping:
        mapping.execute("UPDATE sources SET scanned_at = 'before'")
    second = scan(db, image_tree)
    assert counts(first.changes["tree"]) == {"new": 13}
    assert counts(second.changes["tree"]) == {"unchanged": 13}
    assert second.reasons == first.reasons == {"tree": {None: 12, "not_an_image": 1}}
    assert rows(db) == before[0]
    assert rows(db, "SELECT scanned_at FROM sources") == [("before",)]


@pytest.mark.parametrize("kind", ["new", "changed", "described", "vanished", "unchanged"])
def test_each_kind_of_change_is_a_new_state_of_the_source(kind: str, db: Path, image_tree: Path) -> None:
    image, table = image_tree / "fish" / "0.jpg", db.parent / "metadata.csv"
    table.write_text("name,author\n1.jpg,Ann\n")
    scan(db, image_tree, metadata=MetadataFile(table, "name"))
    with open_mapping(db, write=True) as mapping:
        mapping.execute("UPDATE sources SET scanned_at = 'before'")
    match kind:
        case "new":
            (image_tree / "new.jpg").write_bytes(image.read_bytes())
        case "changed":
            os.utime(image, ns=(1, 1))
        case "described":
            table.write_text("name,author\n1.jpg,Bob\n")
        case "vanished":
            image.unlink()
    assert kind in counts(scan(db, image_tree).changes["tree"])
    [(scanned,)] = rows(db, "SELECT scanned_at FROM sources")
    assert (scanned == "before") == (kind == "unchanged")


def test_new_changed_vanished_and_returned_files(db: Path, image_tree: Path) -> None:
    scan(db, image_tree)
    before = by_path(db, "key, content_hash")
    (image_tree / "new.jpg").write_bytes((image_tree / "fish" / "0.jpg").read_bytes())
    (image_tree / "fish" / "0.jpg").write_bytes((image_tree / "fish" / "1.jpg").read_bytes())
    (image_tree / "fish" / "2.jpg").rename(db.parent / "away.jpg")
    os.utime(image_tree / "fish" / "1.jpg", ns=(1, 1))
    with open_mapping(db, write=True) as mapping:
        mapping.execute("UPDATE sources SET scanned_at = 'before'")
    assert counts(scan(db, image_tree).changes["tree"]) == {"new": 1, "changed": 2, "unchanged": 9, "vanished": 1}
    assert rows(db, "SELECT count(*) FROM sources WHERE scanned_at = 'before'") == [(0,)]
    found = by_path(db, "key, content_hash, reason")
    assert found["fish/0.jpg"] == [before["fish/0.jpg"][0], before["fish/1.jpg"][1], None]
    assert found["fish/2.jpg"] == [*before["fish/2.jpg"], "vanished"]
    assert counts(scan(db, image_tree).changes["tree"]) == {"unchanged": 12}
    (db.parent / "away.jpg").rename(image_tree / "fish" / "2.jpg")
    assert counts(scan(db, image_tree).changes["tree"]) == {"changed": 1, "unchanged": 12}
    assert by_path(db, "key, content_hash")["fish/2.jpg"] == before["fish/2.jpg"]
    assert len(rows(db)) == 13


def test_a_change_of_metadata_reads_no_file(db: Path, image_tree: Path) -> None:
    scan(db, image_tree)
    before = by_path(db, "width, content_hash")
    table = db.parent / "metadata.csv"
    table.write_text("name,species,license\n3.png,Salmo salar,CC0\nnone.jpg,x,y\n")
    for path in image_tree.rglob("*.png"):
        path.write_bytes(b"")  # would be seen if it were read
    sizes = {path: size for path, size in by_path(db, "bytes").items() if path.endswith("3.png")}
    mtimes = by_path(db, "mtime")
    for path, size in sizes.items():
        os.truncate(image_tree / path, size)
        os.utime(image_tree / path, ns=(mtimes[path], mtimes[path]))
    changes = scan(db, image_tree, metadata=MetadataFile(table, "name")).changes["tree"]
    assert counts(changes) == {"described": 3, "unchanged": 9}
    assert (changes.matched, changes.unmatched) == (3, 1)
    assert by_path(db, "species, license")["birds/3.png"] == ["Salmo salar", "CC0"]
    assert by_path(db, "width, content_hash") == before


def test_metadata_is_remembered(db: Path, image_tree: Path) -> None:
    table = db.parent / "metadata.csv"
    table.write_text("name,author\n0.jpg,Ann\n")
    scan(db, image_tree, metadata=MetadataFile(table, "name"))
    assert counts(scan(db, image_tree).changes["tree"]) == {"unchanged": 12}
    table.write_text("name,author\n0.jpg,Bob\n")
    assert counts(scan(db, image_tree).changes["tree"]) == {"described": 3, "unchanged": 9}
    assert rows(db, "SELECT author, count(*) FROM images WHERE author IS NOT NULL GROUP BY 1") == [("Bob", 3)]


def test_hashes_can_be_added_later(db: Path, image_tree: Path) -> None:
    (image_tree / "notes.txt").write_text("no image")
    scan(db, image_tree, hash_content=False)
    assert set(by_path(db, "content_hash").values()) == {None}
    assert counts(scan(db, image_tree).changes["tree"]) == {"changed": 12, "unchanged": 1}
    fresh = db.with_name(f"fresh{db.suffix}")
    scan(fresh, image_tree)
    assert rows(db) == rows(fresh)
    assert counts(scan(db, image_tree, hash_content=False).changes["tree"]) == {"unchanged": 13}


def test_every_bad_file_has_its_reason(db: Path, image_tree: Path) -> None:
    good = (image_tree / "fish" / "0.jpg").read_bytes()
    files = {"empty.jpg": b"", "text.jpg": b"no image at all", "short.jpg": good[:40]}
    for name, data in files.items():
        (image_tree / name).write_bytes(data)
    (image_tree / "link.jpg").symlink_to("nowhere")
    os.mkfifo(image_tree / "pipe.jpg")
    report = scan(db, image_tree)
    assert {path: reason for path, reason in by_path(db, "reason").items() if reason} == {
        "empty.jpg": "empty_file",
        "text.jpg": "not_an_image",
        "short.jpg": "truncated",
        "link.jpg": "broken_link",
        "pipe.jpg": "unreadable",
    }
    assert report.reasons["tree"][None] == 12
    assert counts(scan(db, image_tree).changes["tree"]) == {"unchanged": 17}


def test_images_in_tars_are_read_in_place(db: Path, image_tree: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for number, path in enumerate(sorted(image_tree.rglob("*.jpg"))):
            tar.add(path, f"{number:04d}.jpg")
    scan(db, f"shards=wds:{tmp_path / 'shard.tar'}", image_tree)
    shared = rows(db, "SELECT count(*) FROM images GROUP BY content_hash, width, height, format HAVING count(*) = 2")
    assert len(shared) == 9
    assert counts(scan(db, f"shards=wds:{tmp_path / 'shard.tar'}").changes["shards"]) == {"unchanged": 9}


@pytest.mark.parametrize("more", [-1, 0, 1, 1_700_000])
def test_large_images_are_hashed_to_their_last_byte(db: Path, tmp_path: Path, image_tree: Path, more: int) -> None:
    """Files are read in pieces of 1 MiB: loose ones, and from where they lie in a tar."""
    start = (image_tree / "fish" / "0.jpg").read_bytes()
    data = start + bytes(i * i % 251 for i in range((1 << 20) + more - len(start)))
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "a.jpg").write_bytes(data)
    with tarfile.open(tmp_path / "large.tar", "w") as tar:
        tar.add(image_tree / "fish" / "1.jpg", "0.jpg")
        tar.add(tmp_path / "large" / "a.jpg", "1.jpg")
        tar.add(image_tree / "fish" / "2.jpg", "2.jpg")
    scan(db, f"loose=folder:{tmp_path / 'large'}", f"packed=wds:{tmp_path / 'large.tar'}")
    found = rows(db, "SELECT path, content_hash FROM images WHERE path LIKE '%a.jpg' OR path LIKE '%1.jpg'")
    assert len(found) == 2
    assert {content for _, content in found} == {hashlib.sha256(data).hexdigest()[:32]}


def test_a_file_that_vanishes_after_it_was_listed_has_its_reason(
    db: Path, image_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = FolderSource.list

    def list_and_remove(self: FolderSource) -> Iterator[Any]:
        yield from listed(self)
        (image_tree / "fish" / "0.jpg").unlink()
        (image_tree / "birds").rename(image_tree / "aside")
        (image_tree / "birds").touch()
        os.truncate(image_tree / "fish" / "1.jpg", 1000)
        os.truncate(image_tree / "fish" / "2.jpg", 0)

    monkeypatch.setattr(FolderSource, "list", list_and_remove)
    scan(db, image_tree)
    found = by_path(db, "reason")
    assert {found[path] for path in found if path.startswith(("birds/", "fish/0"))} == {"vanished"}
    assert found["fish/1.jpg"] == "changed"
    assert found["fish/2.jpg"] == "empty_file"
    assert [found[path] for path in found if path.startswith("mammals/")] == [None] * 4


def test_a_file_without_permission_has_its_reason(db: Path, image_tree: Path) -> None:
    (image_tree / "fish" / "0.jpg").chmod(0)
    open_to_all(image_tree.parent, 0o777)
    command = "main(['map', '--db', sys.argv[1], '--source', sys.argv[2], '--workers', '0'])"
    found = as_nobody(command, db, f"tree=folder:{image_tree}")
    assert found.returncode == 0, found.stderr
    reasons = by_path(db, "reason")
    assert reasons.pop("fish/0.jpg") == "unreadable"
    assert list(reasons.values()) == [None] * 11


def test_equal_file_names_of_two_sources_do_not_collide(db: Path, image_tree: Path) -> None:
    report = scan(db, f"a=folder:{image_tree}", f"b=folder:{image_tree}")
    assert {name: counts(changes) for name, changes in report.changes.items()} == {"a": {"new": 12}, "b": {"new": 12}}
    assert rows(db, "SELECT count(DISTINCT key), count(DISTINCT path) FROM images") == [(24, 12)]
    only = scan(db, f"a=folder:{image_tree / 'fish'}")
    assert list(only.reasons) == ["a"]
    assert counts(only.changes["a"]) == {"new": 4, "vanished": 12}
    assert rows(db, "SELECT count(*) FROM images WHERE source = 'b' AND reason IS NULL") == [(12,)]


def test_a_moved_root_changes_no_key(db: Path, image_tree: Path) -> None:
    scan(db, image_tree)
    before = rows(db)
    moved = image_tree.rename(image_tree.with_name("moved"))
    assert counts(scan(db, moved).changes["tree"]) == {"unchanged": 12}
    assert rows(db) == before
    assert rows(db, "SELECT root FROM sources") == [(str(moved),)]


def test_workers_change_nothing(db: Path, image_tree: Path) -> None:
    other = db.with_name(f"other{db.suffix}")
    scan(db, image_tree)
    scan(other, image_tree, workers=2)
    assert rows(db) == rows(other)


KILLED = """
import os, signal, sys
from pathlib import Path
from shardforge.executors import TaskResult
from shardforge.mapping import buffer, open_mapping, update
from shardforge.sources import parse_sources

class Dying:
    def run(self, function, tasks, *, retries=2):
        for number, task in enumerate(tasks):
            if number == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield TaskResult(task, function(task))

update._TASK_ROWS = update._QUERY_ROWS = 3
buffer._MOST_ROWS = 3
with open_mapping(Path(sys.argv[1]), write=True, create=True) as mapping:
    update.map_sources(mapping, parse_sources([f"tree=folder:{sys.argv[2]}"]), Dying())
"""


def test_a_killed_run_goes_on_where_it_stopped(db: Path, image_tree: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, db, image_tree], check=False)
    assert killed.returncode < 0
    assert rows(db, "SELECT count(*) FROM images") == [(6,)]
    assert counts(scan(db, image_tree).changes["tree"]) == {"new": 6, "unchanged": 6}
    fresh = db.with_name(f"fresh{db.suffix}")
    scan(fresh, image_tree)
    assert rows(db) == rows(fresh)


def test_a_source_without_files_marks_nothing_as_vanished(db: Path, image_tree: Path) -> None:
    run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    before = rows(db)
    image_tree.rename(image_tree.with_name("away"))
    gone = run("map", "--db", db, code=1)
    assert f"source 'tree': the folder {image_tree} is not there; mount its disk" in gone.stderr
    image_tree.mkdir()
    empty = run("map", "--db", db, code=1)
    assert f"source 'tree': no file at all in {image_tree}; is the disk mounted?" in empty.stderr
    assert rows(db) == before


def test_a_name_stands_for_one_kind(db: Path, image_tree: Path) -> None:
    run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    wrong = run("map", "--db", db, "--source", f"tree=wds:{image_tree}", code=2)
    assert "already has a source 'tree' of the kind folder" in wrong.stderr


def test_a_root_that_is_no_text_is_refused(db: Path, image_tree: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(image_tree.parent) + b"/\xff"))
    image_tree.rename(strange)
    found = run("map", "--db", db, "--source", f"tree=folder:{strange}", "--workers", 0, code=2)
    assert "is not UTF-8 text, which a database cannot hold; rename it" in found.stderr


def test_nothing_is_made_when_a_source_is_wrong(db: Path, image_tree: Path) -> None:
    sources = ("--source", f"tree=folder:{image_tree}", "--source", "b=folder:/nowhere/at/all")
    assert "/nowhere/at/all does not exist" in run("map", "--db", db, *sources, code=2).stderr
    assert "run `shardforge map" in run("map", "--db", db, code=2).stderr
    assert not db.exists()
    (db.parent / "empty").mkdir()
    assert "no file at all" in run("map", "--db", db, "--source", f"e=folder:{db.parent}/empty", code=1).stderr
    assert list(db.parent.glob(f"{db.name}*")) == []


def test_the_report_and_the_next_step(db: Path, image_tree: Path) -> None:
    (image_tree / "notes.txt").write_text("no image")
    result = run("map", "--db", db, "--source", f"tree=folder:{image_tree}", "--workers", 0)
    assert result.stdout.splitlines() == [
        "source  files  usable  new  changed  described  unchanged  vanished",
        "tree       13      12   13        0          0          0         0",
        "",
        "reason        images  meaning",
        "not_an_image       1  the bytes are not those of a known image format",
    ]
    assert result.stderr.endswith(f"Next: shardforge split --db {db} --seed 17 --val-split 5\n")
    again = json.loads(run("map", "--db", db, "--workers", 0, "--json").stdout)
    assert again["sources"]["tree"]["unchanged"] == 13
    assert again["sources"]["tree"]["usable"] == 12
    assert again["reasons"] == {"not_an_image": 1}


def test_reasons_come_by_frequency_then_name() -> None:
    report = MapReport(reasons={"a": {None: 5, "x": 1, "b": 2}, "c": {"a": 1, "b": 1}})
    assert list(report.bad.items()) == [("b", 3), ("a", 1), ("x", 1)]


def test_a_dry_run_writes_nothing(db: Path, image_tree: Path) -> None:
    source = ("--source", f"tree=folder:{image_tree}")
    assert "tree       12   12" in run("map", "--db", db, *source, "--dry-run").stdout
    assert list(db.parent.iterdir()) == [image_tree]
    run("map", "--db", db, *source, "--workers", 0)
    before = db.read_bytes()
    (image_tree / "fish" / "0.jpg").unlink()
    found = json.loads(run("map", "--db", db, "--dry-run", "--json").stdout)["sources"]["tree"]
    assert (found["unchanged"], found["vanished"]) == (11, 1)
    assert db.read_bytes() == before


def test_an_unreadable_directory_fails_the_run_and_keeps_what_is_known(db: Path, image_tree: Path) -> None:
    scan(db, image_tree)
    open_to_all(image_tree.parent, 0o777)
    db.chmod(0o666)
    (image_tree / "fish").chmod(0)
    command = "main(['map', '--db', sys.argv[1], '--workers', '0'])"
    found = as_nobody(command, db)
    (image_tree / "fish").chmod(0o755)
    assert found.returncode == 1
    assert "Error: 1 directory could not be listed, so their images are not known (for instance tree: fish)" in (
        found.stderr
    )
    assert rows(db, "SELECT reason, count(*) FROM images GROUP BY 1 ORDER BY 2") == [
        ("unreadable_directory", 1),
        (None, 12),
    ]
    assert counts(scan(db, image_tree).changes["tree"]) == {"unchanged": 12}
    assert len(rows(db)) == 12


def test_a_file_that_becomes_readable_is_read_again(db: Path, image_tree: Path) -> None:
    scan(db, image_tree)
    with open_mapping(db, write=True) as mapping:
        mapping.execute("UPDATE images SET reason = 'unreadable', width = NULL, content_hash = NULL")
    assert counts(scan(db, image_tree).changes["tree"]) == {"changed": 12}
    assert set(by_path(db, "reason").values()) == {None}


HOSTILE = [
    ("segfault", "reader_killed", "SIGSEGV"),
    ("kill", "reader_killed", "SIGKILL"),
    ("abort", "reader_killed", "SIGABRT"),
    ("memory", "out_of_memory", None),
    ("unforeseen", "internal_error", "ValueError: nobody thought of this"),
    ("io", "unreadable", "Input/output error"),
]


@pytest.mark.parametrize(("action", "reason", "note"), HOSTILE)
def test_one_hostile_file_costs_one_row(db: Path, image_tree: Path, action: str, reason: str, note: str | None) -> None:
    make_hostile(image_tree / "fish" / "bad.jpg", action)
    specs = parse_sources([f"tree=folder:{image_tree}"])
    with open_mapping(db, write=True, create=True) as mapping, HostileExecutor(2) as executor:
        report = map_sources(mapping, specs, executor)
    assert report.reasons == {"tree": {None: 12, reason: 1}}
    assert [path for path, found in by_path(db, "reason").items() if found] == ["fish/bad.jpg"]
    notes = rows(db, "SELECT i.path, n.note FROM notes AS n JOIN images AS i USING (key)")
    assert [path for path, _ in notes] == ["fish/bad.jpg"] * (note is not None)
    assert all(note in text for _, text in notes)
    assert report.faults == ([f"tree: fish/bad.jpg: {note}"] if reason == "internal_error" else [])


def test_what_takes_too_long_is_tried_twice_and_then_when_asked(db: Path, image_tree: Path) -> None:
    make_hostile(image_tree / "fish" / "bad.jpg", "hang")
    specs = parse_sources([f"tree=folder:{image_tree}"])
    found = []
    for retry_bad in (False, False, False, True):
        with open_mapping(db, write=True, create=True) as mapping, HostileExecutor(1, item_seconds=2) as executor:
            report = map_sources(mapping, specs, executor, retry_bad=retry_bad)
        found.append((report.bad, report.changes["tree"].changed))
    slow = {"too_slow": 1}
    assert found == [({"timed_out": 1}, 0), (slow, 1), (slow, 0), ({"timed_out": 1}, 1)]


def test_all_that_is_bad_is_read_again_when_asked(db: Path, image_tree: Path) -> None:
    (image_tree / "bad.jpg").write_bytes(b"words")
    scan(db, image_tree)
    with open_mapping(db, write=True) as mapping:
        mapping.execute("UPDATE images SET reason = 'internal_error', width = NULL WHERE path = 'fish/0.jpg'")
    assert counts(scan(db, image_tree).changes["tree"]) == {"unchanged": 13}
    report = scan(db, image_tree, retry_bad=True)
    assert counts(report.changes["tree"]) == {"changed": 1, "unchanged": 12}
    assert report.bad == {"not_an_image": 1}


def test_a_mapping_of_before_has_no_notes_and_gets_them(tmp_path: Path) -> None:
    unpack_before(tmp_path)
    for name in ("mapping.duckdb", "mapping.sqlite"):
        db = tmp_path / name
        with open_mapping(db) as mapping:
            assert mapping.rows(mapping.query("list_notes").rstrip(";\n ")) == []
            assert len(mapping.rows("SELECT 1 FROM images")) == 24
        (tmp_path / "images" / "fish" / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0")
        source = f"photos=folder:{tmp_path / 'images'}"
        options = ("--option", "photos.label=parent", "--workers", 0, "--json")
        report = json.loads(run("map", "--db", db, "--source", source, *options).stdout)
        assert (report["sources"]["photos"]["new"], report["sources"]["photos"]["unchanged"]) == (1, 24)
        assert rows(db, "SELECT dataset, note FROM notes") == [(None, "the file ends inside its header")]
