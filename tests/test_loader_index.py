"""The loader's index: where members lie, in datasets of ours and in tars of any origin."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import shutil
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pytest
from pipeline import as_nobody, manifest, prepare, run, write

from shardforge.errors import DatasetError
from shardforge.loader.index import ShardIndex, open_index, walk
from shardforge.loader.index.cache import choose_place
from shardforge.loader.index.file import join_rows, write_columns
from shardforge.loader.index.rows import Extent, ShardRows, make_extent
from shardforge.loader.index.shard_index import make_fingerprint
from shardforge.loader.inputs import open_inputs
from shardforge.loader.shards import ShardSet
from shardforge.loader.storage.local import LocalFile
from shardforge.samples import hash_keys

LONG = "folder/" + "x" * 150


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    folder = tmp_path_factory.mktemp("index")
    write(prepare(folder, f"photos=table:{photos / 'photos.csv'}"), folder / "out", "--label", "family")
    return folder / "out"


@pytest.fixture
def out(dataset: Path, tmp_path: Path) -> Path:
    """Return a copy of a dataset without an index of the loader."""
    return Path(shutil.copytree(dataset, tmp_path / "out", ignore=shutil.ignore_patterns("*.shardforge-index")))


def write_tar(path: Path, members: dict[str, bytes], **options: int) -> Path:
    with tarfile.open(path, "w", **options) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def open_tars(*tars: Path) -> ShardIndex:
    return open_index([open_inputs([str(tar) for tar in tars])])


def read(index: ShardIndex, sample: int, extension: str) -> bytes | None:
    shards, offsets, sizes = (column.tolist()[0] for column in index.locate(np.array([sample]), extension))
    return index.reader.read(shards, offsets, sizes) if offsets else None


def test_parquet_and_header_walk_give_the_same_index(out: Path) -> None:
    ours = open_index([open_inputs(out, split="train")])
    walked = open_index([open_inputs(sorted(map(str, (out / "train").glob("*.tar"))))])
    names = manifest(out)["splits"]["train"]
    assert ours.lengths.tolist() == walked.lengths.tolist() == names["shard_lengths"]
    assert ours.extensions == walked.extensions == ("jpg", "cls", "json")
    assert np.array_equal(ours.labels, walked.labels)
    numbers = np.arange(ours.samples)
    for extension in ours.extensions:
        assert all(map(np.array_equal, ours.locate(numbers, extension), walked.locate(numbers, extension)))
    for number in numbers.tolist():
        content = json.loads(read(ours, number, "json") or b"")
        assert ours.key(number) == walked.key(number) == content["key"]
        assert ours.find(content["key"]) == number


@pytest.mark.readers
@pytest.mark.filterwarnings("ignore")  # webdataset leaves files open
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_foreign_tars_are_read_as_webdataset_reads_them(tmp_path: Path, format: int) -> None:
    long = LONG if format != tarfile.USTAR_FORMAT else "folder/short"
    members = {
        "b/0.JPG": b"image", "b/0.cls": b"7\n", "a.b.json": b"{}", "a.txt": b"hi", "__meta__": b"", ".hidden.jpg": b"",
        f"{long}.jpg": b"long", f"{long}.cls": b"3", "c.cls": b"cat", "no_extension": b"", "d.sci.txt": b"Aves",
        "__e__.jpg": b"key", "README": b"between", ".e.cls": b"5", "__f__/g.jpg": b"meta", "__e__.cls": b"4",
    }  # fmt: skip
    index = open_tars(write_tar(tmp_path / "foreign.tar", members, format=format))
    import webdataset

    expected = [
        {name: data for name, data in sample.items() if name not in ("__url__", "__local_path__")}
        for sample in webdataset.WebDataset(str(tmp_path / "foreign.tar"), shardshuffle=False)
    ]
    found = [
        {"__key__": index.key(number)}
        | {name: data for name in index.extensions if (data := read(index, number, name)) is not None}
        for number in range(index.samples)
    ]
    assert found == expected
    assert [index.find(sample["__key__"]) for sample in expected] == list(range(6))
    assert index.labels.tolist() == [7, -1, 3, -1, -1, 4]


def test_keys_that_are_not_there(out: Path) -> None:
    index = open_index([open_inputs(out, split="validation")])
    with pytest.raises(KeyError, match="nothing: no sample of 2 shards"):
        index.find("nothing")
    assert index.find_all(["nothing", index.key(3), "", index.key(0)]).tolist() == [-1, 3, -1, 0]


def test_a_sample_with_three_members_takes_forty_bytes(tmp_path: Path) -> None:
    count = 50_000
    numbers = np.arange(count, dtype=np.uint32)
    members = {name: Extent(numbers + 1, numbers) for name in ("jpg", "cls", "json")}
    rows = ShardRows(numbers.astype(np.uint64), numbers.astype(np.int32), members)
    write_columns(tmp_path / "index", join_rows("id", np.array([[1, 2]], np.int64), [rows]))
    assert (tmp_path / "index").stat().st_size <= 40 * count + 4096


@pytest.mark.parametrize(
    ("offset", "size", "message"),
    [
        (1536, (1 << 32) - 1, None),
        ((1 << 41) - 512, 0, None),
        (0, 0, None),
        (1536, 1 << 32, "a member of 4 GiB or more, or beyond 2 TiB, cannot be indexed"),
        (1 << 41, 1, "a member of 4 GiB or more, or beyond 2 TiB, cannot be indexed"),
        (1537, 1, "the data of a member does not start at a multiple of 512 bytes"),
        (-512, 1, "the data of a member does not start"),
        (512, -1, "the data of a member does not start"),
    ],
)
def test_members_beyond_what_an_index_holds_are_refused(offset: int, size: int, message: str | None) -> None:
    offsets, sizes = np.array([512, offset]), np.array([3, size])
    if message is not None:
        with pytest.raises(DatasetError, match=f"a.tar: {message}"):
            make_extent("a.tar", offsets, sizes)
        return
    extent = make_extent("a.tar", offsets, sizes)
    assert extent.blocks.tolist() == [1, offset // 512]
    assert extent.sizes.tolist() == [3, size]
    assert (extent.blocks.dtype, extent.sizes.dtype) == (np.uint32, np.uint32)


def test_keys_are_hashed_alike_for_good() -> None:
    # Written down once: indices that were written before hold these.
    assert hash_keys(["a", "é", ""]).tolist() == [3405396810240292928, 3394012004367669963, 13020603013274838756]


def test_of_samples_with_one_key_the_first_is_found(tmp_path: Path) -> None:
    tars = [
        write_tar(tmp_path / f"{number}.tar", {f"{key}.cls": b"%d" % (10 * number + i) for i, key in enumerate(keys)})
        for number, keys in enumerate(("bca", "dae", "fag"))
    ]
    index = open_tars(*tars)
    assert [index.find(key) for key in "abcdefg"] == [2, 0, 1, 3, 5, 6, 8]
    assert index.find_all(["g", "f", "no", "b"]).tolist() == [8, 6, -1, 0]
    assert [index.key(sample) for sample in range(9)] == list("bcadaefag")
    assert index.labels.tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]


def test_an_index_is_kept_until_a_shard_changes(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.cls": b"1"})
    first = open_tars(tar)
    made = first.path.stat().st_mtime_ns
    assert first.path.parent == tmp_path
    assert open_tars(tar).path.stat().st_mtime_ns == made
    write_tar(tar, {"b.cls": b"2", "c.cls": b"3"})
    assert open_tars(tar).labels.tolist() == [2, 3]
    with pytest.raises(DatasetError, match="made anew while it was in use"):
        pickle.loads(pickle.dumps(first))


def test_time_of_change_alone_makes_an_index_anew(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.cls": b"1"})
    open_tars(tar)
    write_tar(tar, {"a.cls": b"2"})
    os.utime(tar, ns=(1, 1))
    assert open_tars(tar).labels.tolist() == [2]


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.cls": b"1"})
    path = open_tars(tar).path
    whole = path.read_bytes()
    flipped = [whole.replace(word, other) for word, other in [(b"samples", b"sbmples"), (b'"cls"', b'"clt"')]]
    for content in (b"", b"nonsense", whole[:20], whole[:100], *flipped):
        path.write_bytes(content)
        assert open_tars(tar).labels.tolist() == [1]
        assert path.read_bytes() == whole


def test_an_index_is_made_elsewhere_where_something_else_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tar = write_tar(tmp_path / "a.tar", {"a.cls": b"1"})
    beside = open_tars(tar).path
    beside.unlink()
    beside.mkdir()
    elsewhere = open_tars(tar).path
    assert elsewhere.is_relative_to(tmp_path / "cache")
    made = elsewhere.stat().st_ino
    assert open_tars(tar).path.stat().st_ino == made  # and found again
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"file/index: cannot be made \(.*\), .* set XDG_CACHE_HOME"):
        choose_place([beside, tmp_path / "file" / "index" / "name"])


def test_an_index_of_another_split_is_refused(out: Path) -> None:
    shutil.copy(out / "index" / "validation.parquet", out / "index" / "train.parquet")
    with pytest.raises(
        DatasetError, match=r"train\.parquet: has \d samples up to byte [\d,]+ for .*\.tar, but the manif"
    ):
        open_index([open_inputs(out, split="train")])


def test_a_pickled_index_is_mapped_again(out: Path) -> None:
    index = open_index([open_inputs(out, split="train")])
    message = pickle.dumps(index)
    assert len(message) < 4096
    again: ShardIndex = pickle.loads(message)
    assert [again.key(number) for number in range(5)] == [index.key(number) for number in range(5)]
    assert again.fingerprint == index.fingerprint


def test_a_written_dataset_brings_an_index_that_serves_its_copies(dataset: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(dataset, tmp_path / "copy", copy_function=shutil.copyfile))  # with other times of change
    made = {path: path.stat().st_ino for path in out.rglob("*.shardforge-index")}
    assert {path.parent.name for path in made} == {"train", "validation"}
    index = open_index([open_inputs(out, split="train")])
    assert made[index.path] == index.path.stat().st_ino  # not made anew
    assert json.loads(read(index, 3, "json") or b"")["key"] == index.key(3)
    again = pickle.loads(pickle.dumps(index))
    assert again.key(3) == index.key(3)


def test_an_index_of_other_content_is_made_anew(out: Path) -> None:
    before = open_index([open_inputs(out, split="train")])
    content = manifest(out)
    content["splits"]["train"]["shard_sha256"][0] = "0" * 64
    (out / "_info.json").write_text(json.dumps(content))
    after = open_index([open_inputs(out, split="train")])
    assert after.path == before.path
    assert after.fingerprint != before.fingerprint
    with pytest.raises(DatasetError, match="was made anew while it was in use"):
        pickle.loads(pickle.dumps(before))


def test_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    one = open_tars(write_tar(tmp_path / "a.tar", {"a.cls": b"1"})).fingerprint
    assert open_tars(write_tar(tmp_path / "b.tar", {"a.cls": b"1"})).fingerprint != one
    assert open_tars(write_tar(tmp_path / "a.tar", {"a.cls": b"1", "b.cls": b"1"})).fingerprint != one
    odd = tmp_path / os.fsdecode(b"\xff.tar")
    assert open_tars(write_tar(odd, {"a.cls": b"1"})).fingerprint != one
    lengths = np.array([1])
    signed = [make_fingerprint([f"https://a.org/a.tar?signature={name}/"], lengths, [None]) for name in ("b", "c")]
    assert signed == [make_fingerprint(["https://a.org/a.tar"], lengths, [None])] * 2


def test_processes_that_start_together_share_one_index(out: Path) -> None:
    shards = open_inputs(out, split="train")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(_count_samples, [shards] * 8)
    assert len(set(found)) == 1
    hidden = [path.name for path in (out / "train").iterdir() if path.name.startswith(".")]
    assert len(hidden) == 1
    assert hidden[0].endswith(".shardforge-index")


def _count_samples(shards: ShardSet) -> tuple[int, str]:
    index = open_index([shards])
    return index.samples, index.key(0)


def test_read_only_shards_are_indexed_in_the_users_cache() -> None:
    with tempfile.TemporaryDirectory() as name:  # one that others may enter, unlike tmp_path
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "shards").mkdir()
        tar = write_tar(folder / "shards" / "a.tar", {"a.cls": b"1"})
        cache = folder / "cache"
        code = "import os; os.environ['XDG_CACHE_HOME'] = sys.argv[2]\nmain(['index', sys.argv[1], '--workers', '0'])"
        done = as_nobody(code, tar, cache)
        assert done.returncode == 0, done.stderr
        assert len(list((cache / "shardforge" / "index").iterdir())) == 1
        assert list((folder / "shards").iterdir()) == [tar]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1024], "without an end mark"),
        (lambda data: data[:700], "needs 1024 bytes"),
        (lambda data: b"\x01" + data[1:], "wrong checksum"),
        (lambda data: b"", "the tar ends at byte 0"),
    ],
)
def test_a_torn_tar_is_named(tmp_path: Path, damage, message: str) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.cls": b"1"}, format=tarfile.USTAR_FORMAT)
    whole = tar.read_bytes()[:2048]
    tar.write_bytes(damage(whole))
    with pytest.raises(DatasetError, match=rf"a\.tar: .*{message}"):
        open_tars(tar)


def test_a_shard_of_another_size_than_the_manifest_says_is_refused(out: Path) -> None:
    shard = out / manifest(out)["splits"]["train"]["filenames"][0]
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(DatasetError, match=r"train-000000\.tar: has [\d,]+ bytes, but its manifest says"):
        open_index([open_inputs(out, split="train")])


def test_two_members_with_one_extension_are_refused(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.jpg": b"1", "a.JPG": b"2"})
    with pytest.raises(DatasetError, match=r"sample a has two members \.jpg"):
        open_tars(tar)


def test_index_command_writes_what_dali_reads(out: Path) -> None:
    tars = sorted((out / "train").glob("*.tar"))
    found = json.loads(run("index", out, "--split", "train", "--workers", 0, "--dali", "--json").stdout)
    assert found["samples"] == found["labelled"] == manifest(out)["splits"]["train"]["num_samples"]
    with tarfile.open(tars[0]) as tar:
        members = [(info.name, info.offset_data, info.size) for info in tar]
    first, *lines = tars[0].with_suffix(".idx").read_text().splitlines()
    assert first == f"v1.2 {len(members) // 3}"
    words = [line.split(" ") for line in lines]
    described = [tuple(line[i : i + 4]) for line in words for i in range(0, 12, 4)]
    assert described == [(name.partition(".")[2], str(offset), str(size), name) for name, offset, size in members]
    run("verify", out)
    table, place = run("index", out, "--split", "train", "--workers", 0).stdout.split("Index: ")
    assert place == f"{found['index']}\n"
    assert max(map(len, table.splitlines())) <= 100


def test_samples_without_a_member_are_the_same_by_the_table_and_by_the_walk(photos: Path, tmp_path: Path) -> None:
    db = prepare(tmp_path, f"photos=table:{photos / 'photos.csv'}")
    with closing(duckdb.connect(str(db))) as connection:
        connection.execute("UPDATE images SET family = NULL WHERE rowid % 3 = 0")
    write(db, tmp_path / "out", "--label", "family", "--unlabelled", "keep")
    indices = [
        open_index([open_inputs(tmp_path / "out", split="train")]),
        open_tars(*sorted((tmp_path / "out" / "train").glob("*.tar"))),
    ]
    numbers = np.arange(indices[0].samples)
    ours, walked = ([column.tolist() for column in index.locate(numbers, "cls")] for index in indices)
    assert ours == walked
    assert ours[1].count(0) == ours[2].count(0) == int((indices[0].labels < 0).sum()) > 0


@pytest.mark.parametrize("piece", [512, 1_536, 10_000, 1 << 20])
def test_a_shard_is_walked_in_pieces_of_any_size(piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_PIECE", piece)
    members = {}
    for label, key in enumerate(("a", "b", LONG)):
        members |= {f"{key}.jpg": bytes(3_000), f"{key}.cls": b"%d" % label}
    tar = str(write_tar(tmp_path / "a.tar", members))
    whole, pieces = walk.walk_shard(tar), walk.walk_file(tar, LocalFile(tar))
    assert pieces.labels.tolist() == whole.labels.tolist() == [0, 1, 2]
    assert pieces.hashes.tolist() == whole.hashes.tolist()
    for extension, extent in whole.members.items():
        assert pieces.members[extension].blocks.tolist() == extent.blocks.tolist()
        assert pieces.members[extension].sizes.tolist() == extent.sizes.tolist()


def test_a_shard_without_samples_has_empty_columns() -> None:
    extent = make_extent("a.tar", np.array([], np.int64), np.array([], np.int64))
    assert (extent.blocks.tolist(), extent.sizes.tolist()) == ([], [])
