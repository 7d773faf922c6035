"""The loader's index is read by checked pages: the same as from memory, bounded, and never other bytes than written."""

from __future__ import annotations

import os
import pickle
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from test_loader_index import write_tar

from shardforge.errors import DatasetError
from shardforge.loader.index import ShardIndex, open_index, pages
from shardforge.loader.index.file import Columns, OpenIndex, join_rows, open_columns, write_columns
from shardforge.loader.index.pages import IndexFile, PagedRows, Section, iter_pages
from shardforge.loader.index.rows import Extent, ShardRows, make_extent
from shardforge.loader.inputs import open_inputs
from shardforge.loader.storage import ShardReader
from shardforge.loader.storage.local import LocalStorage
from shardforge.samples import hash_keys

LENGTHS = (40, 0, 1, 130, 29)


def make_shards(*, crcs: bool = True, extensions: tuple[str, ...] = ("jpg", "cls")) -> list[ShardRows]:
    """Return rows of a few shards, with members that samples lack, and with keys that are there several times."""
    random = np.random.default_rng(3)
    shards = []
    for number, length in enumerate(LENGTHS):
        keys = [f"{random.integers(0, 120)}" for _ in range(length)]
        members = {}
        for extension in extensions[: 1 + number % len(extensions)]:
            blocks = random.integers(0, 1 << 32, length).astype(np.uint32) * (random.random(length) < 0.8)
            values = random.integers(0, 1 << 32, (2, length)).astype(np.uint32)
            members[extension] = Extent(blocks.astype(np.uint32), values[0], values[1] if crcs else None)
        shards.append(ShardRows(hash_keys(keys), random.integers(-1, 9, length).astype(np.int32), members))
    return shards


def versions() -> np.ndarray:
    return np.arange(2 * len(LENGTHS), dtype=np.int64).reshape(-1, 2)


def make_file(path: Path, shards: list[ShardRows]) -> Columns:
    columns = join_rows("identity", versions(), shards)
    write_columns(path, columns)
    return columns


def open_shards(path: Path) -> ShardIndex:
    reader = ShardReader(LocalStorage(), [f"{number}.tar" for number in range(len(LENGTHS))], versions())
    return ShardIndex(path, open_columns(path), reader, [None] * len(LENGTHS))


def read_everything(found: OpenIndex) -> list[object]:
    arrays = (found.starts, found.versions, found.checked, found.hashes)
    rows = (found.labels.read_all(), found.places.read_all(), found.keys.read_all())
    return [found.identity, found.extensions, *(array.tolist() for array in (*arrays, *rows))]


@pytest.fixture(params=[16, 64, 300, 8192])
def page_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let pages have few rows or many."""
    monkeypatch.setattr(pages, "_PAGE_BYTES", request.param)
    return int(request.param)


@pytest.mark.parametrize("crcs", [True, False])
def test_rows_from_pages_are_those_in_memory(page_bytes: int, crcs: bool, tmp_path: Path) -> None:
    shards = make_shards(crcs=crcs)
    make_file(tmp_path / "index", shards)
    index = open_shards(tmp_path / "index")
    labels = np.concatenate([rows.labels for rows in shards])
    hashes = np.concatenate([rows.hashes for rows in shards])
    samples = np.random.default_rng(5).integers(0, sum(LENGTHS), 500)
    assert index.labels_of(samples).tolist() == labels[samples].tolist()
    assert index.labels.tolist() == labels.tolist()
    assert index.labels_of(samples).tolist() == labels[samples].tolist()  # from all of them
    assert index.lengths.tolist() == list(LENGTHS)
    owner = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    for extension in ("jpg", "cls"):
        nothing = [Extent(np.zeros(length, np.uint32), np.zeros(length, np.uint32)) for length in LENGTHS]
        parts = [rows.members.get(extension, empty) for rows, empty in zip(shards, nothing, strict=True)]
        blocks, sizes = (np.concatenate([part[column] for part in parts]).astype(np.int64) for column in (0, 1))
        found = index.locate(samples, extension)
        assert [column.tolist() for column in found] == [
            owner[samples].tolist(), (blocks * 512)[samples].tolist(), sizes[samples].tolist(),
        ]  # fmt: skip
    wanted = [f"{number}" for number in range(140)]
    first = [int(np.argmax(hashes == hashed)) if hashed in hashes else -1 for hashed in hash_keys(wanted)]
    assert index.find_all(wanted).tolist() == first
    for key in ("3", "7", "100", "none"):
        assert index._find_hash(key) == np.flatnonzero(hashes == hash_keys([key])[0]).tolist()
    with pytest.raises(IndexError):
        index.labels_of(np.array([sum(LENGTHS)]))
    with pytest.raises(IndexError):
        index.locate(np.array([3, -1]), "jpg")
    with pytest.raises(KeyError):
        index.locate(samples, "png")


def test_hashes_that_begin_or_end_a_page_are_found(page_bytes: int, tmp_path: Path) -> None:
    """Runs of one hash of any length, before, over and behind the ends of pages."""
    lengths = [1, 2, 1, 5, 1, 1, 9, 1, 30, 1, 1]
    hashes = np.sort(np.repeat(hash_keys(map(str, range(len(lengths)))), lengths))
    rows = ShardRows(hashes, np.zeros(len(hashes), np.int32), {})
    write_columns(tmp_path / "index", join_rows("identity", versions()[:1], [rows]))
    reader = ShardReader(LocalStorage(), ["0.tar"], versions()[:1])
    index = ShardIndex(tmp_path / "index", open_columns(tmp_path / "index"), reader, [None])
    keys = [str(number) for number in range(-3, len(lengths) + 3)]
    expected = [np.flatnonzero(hashes == hashed).tolist() for hashed in hash_keys(keys)]
    assert [index._find_hash(key) for key in keys] == expected
    assert index.find_all(keys).tolist() == [found[0] if found else -1 for found in expected]
    assert index.find_all([]).tolist() == []


def test_an_index_without_samples(tmp_path: Path) -> None:
    write_columns(tmp_path / "index", join_rows("identity", versions()[:0], []))
    reader = ShardReader(LocalStorage(), [], versions()[:0])
    index = ShardIndex(tmp_path / "index", open_columns(tmp_path / "index"), reader, [])
    assert (index.samples, index.labels.tolist(), index.find_all(["a"]).tolist()) == (0, [], [-1])


def test_any_flipped_bit_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "index"
    make_file(path, make_shards())
    whole, expected = path.read_bytes(), read_everything(open_columns(path))
    bits = np.random.default_rng(7).integers(0, 8, len(whole))
    for place, bit in enumerate(bits.tolist()):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            found = read_everything(open_columns(path))
        except DatasetError:
            continue
        raise AssertionError(f"byte {place} is compared with nothing, and gives {'the same' * (found == expected)}")


def test_an_index_that_was_cut_is_refused_at_any_length(tmp_path: Path) -> None:
    path = tmp_path / "index"
    make_file(path, make_shards())
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 13), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match="is not an index of this version, or damaged"):
            open_columns(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DatasetError, match="is not an index of this version, or damaged"):
        open_columns(path)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: os.truncate(path, 900), "it was cut"),
        (
            lambda path: path.write_bytes(bytes(path.stat().st_size)),
            r"are not those that were written \(another CRC-32\)",
        ),
    ],
)
@pytest.mark.parametrize(
    "read",
    [
        lambda index: index.labels,
        lambda index: index.labels_of(np.array([3])),
        lambda index: index.locate(np.array([3]), "jpg"),
        lambda index: index.find_all(["3"]),
        lambda index: index.find("3"),
    ],
    ids=["labels", "labels of", "locate", "find all", "find"],
)
def test_an_index_that_is_damaged_while_it_is_open_is_one_sentence(
    damage: Callable[[Path], None], problem: str, read: Callable[[ShardIndex], object], tmp_path: Path
) -> None:
    path = tmp_path / "index"
    make_file(path, make_shards())
    index = open_shards(path)
    damage(path)
    with pytest.raises(DatasetError, match=rf"index: .*{problem}.*; delete this index, and it is made anew"):
        read(index)


def test_what_was_read_stays_when_the_index_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "index"
    make_file(path, make_shards())
    index = open_shards(path)
    before = [column.tolist() for column in index.locate(np.arange(40), "jpg")]
    os.truncate(path, 10)
    assert [column.tolist() for column in index.locate(np.arange(40), "jpg")] == before


def make_rows(path: Path, count: int, width: int) -> tuple[np.ndarray, Section, np.ndarray]:
    rows = np.random.default_rng(1).integers(0, 1 << 32, (count, width), dtype=np.uint32)
    parts = list(iter_pages(rows))
    path.write_bytes(b"".join(map(bytes, parts)))
    return rows, Section(0, count, width), np.array([zlib.crc32(part) for part in parts], np.uint32)


@pytest.mark.parametrize("budget", [0, 40_000, 200_000, 1 << 30])
def test_threads_that_share_pages_get_the_right_ones(budget: int, tmp_path: Path) -> None:
    rows, section, crcs = make_rows(tmp_path / "rows", 20_000, 5)
    paged = PagedRows(IndexFile(tmp_path / "rows"), section, crcs, budget=budget)

    def read(seed: int) -> bool:
        random = np.random.default_rng(seed)
        wanted = [random.integers(0, len(rows), random.integers(1, 60)) for _ in range(40)]
        return all(np.array_equal(paged.take(numbers), rows[numbers]) for numbers in wanted)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(read, range(6)))
    finally:
        sys.setswitchinterval(interval)
    assert np.array_equal(paged.take(np.arange(len(rows))), rows)
    assert np.array_equal(paged.read_all(), rows)


@pytest.mark.parametrize(("budget", "most"), [(0, 1), (1 << 20, 2), (1 << 22, 7), (1 << 40, 16)])
def test_pages_take_no_more_memory_than_they_may(budget: int, most: int, tmp_path: Path) -> None:
    rows, section, crcs = make_rows(tmp_path / "rows", 400_000, 9)  # 13.7 MiB
    parts = np.split(np.random.default_rng(2).permutation(len(rows))[:20_000], 100)
    tracemalloc.start()
    try:
        paged = PagedRows(IndexFile(tmp_path / "rows"), section, crcs, budget=budget)
        for numbers in parts:
            paged.take(numbers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most << 20


def test_a_random_row_reads_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, section, crcs = make_rows(tmp_path / "rows", 400_000, 9)
    paged = PagedRows(IndexFile(tmp_path / "rows"), section, crcs, budget=1 << 24)
    read: list[int] = []
    read_into = IndexFile.read_into
    monkeypatch.setattr(
        IndexFile, "read_into", lambda file, buffer, offset: read.append(len(buffer)) or read_into(file, buffer, offset)
    )
    paged.take(np.array([123_456]))
    paged.take(np.array([123_456, 123_457]))
    assert len(read) == 1
    assert read[0] <= pages._PAGE_BYTES


def _read_in_a_process(index: ShardIndex) -> list[list[int]]:
    return [column.tolist() for column in index.locate(np.arange(40), "jpg")]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_index_crosses_to_other_processes(method: str, tmp_path: Path) -> None:
    make_file(tmp_path / "index", make_shards())
    index = open_shards(tmp_path / "index")
    index.locate(np.arange(3), "jpg")
    with get_context(method).Pool(1) as pool:
        assert pool.apply(_read_in_a_process, (index,)) == _read_in_a_process(index)
    assert len(pickle.dumps(index)) < 2048


def test_a_forked_process_waits_for_no_page_of_its_parent(tmp_path: Path) -> None:
    make_file(tmp_path / "index", make_shards())
    index = open_shards(tmp_path / "index")
    with index._columns.places._lock:  # as a thread does that reads a page
        if not (child := os.fork()):
            os._exit(len(index.locate(np.arange(7), "jpg")[0]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_mixed_shards_know_the_crcs_of_their_own(tmp_path: Path) -> None:
    known, unknown = make_shards()[0], make_shards(crcs=False)[0]
    columns = join_rows("identity", versions()[:2], [known, unknown])
    write_columns(tmp_path / "index", columns)
    reader = ShardReader(LocalStorage(), ["0.tar", "1.tar"], versions()[:2])
    index = ShardIndex(tmp_path / "index", open_columns(tmp_path / "index"), reader, [None] * 2)
    assert index.know_crcs(np.array([0, 1, 0])).tolist() == [True, False, True]
    crcs = index.pick(index.places(np.arange(80)), "jpg")[2]
    assert crcs[:40].tolist() == known.members["jpg"].crcs.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("offsets", "sizes", "message"),
    [
        ([512, 513], [1, 1], "does not start at a multiple of 512 bytes"),
        ([512, -512], [1, 1], "does not start at a multiple of 512 bytes"),
        ([512, 512], [1, -1], "does not start at a multiple of 512 bytes"),
        ([512, 512], [1, 1 << 32], "of 4 GiB or more, or beyond 2 TiB, cannot be indexed"),
        ([512, 512 << 32], [1, 1], "of 4 GiB or more, or beyond 2 TiB, cannot be indexed"),
    ],
)
def test_members_that_an_index_cannot_hold_are_refused(offsets: list[int], sizes: list[int], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make_extent("a.tar", np.array(offsets), np.array(sizes))


def test_the_largest_members_that_an_index_can_hold() -> None:
    extent = make_extent("a.tar", np.array([0, ((1 << 32) - 1) * 512]), np.array([0, (1 << 32) - 1]))
    assert (extent.blocks.tolist(), extent.sizes.tolist()) == ([0, (1 << 32) - 1], [0, (1 << 32) - 1])


def test_an_index_of_0_1_0_gives_way(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.cls": b"1"})
    path = open_index([open_inputs([str(tar)])]).path
    former = path.with_name(path.name.replace(".3.", "."))
    path.unlink()
    former.write_bytes(b"shardforge-idx\x00\x02" + bytes(100))
    assert open_index([open_inputs([str(tar)])]).labels.tolist() == [1]
    assert path.exists()
    assert not former.exists()
    path.unlink()
    former.write_bytes(b"something else")
    open_index([open_inputs([str(tar)])])
    assert former.exists()


def test_a_damaged_page_of_a_dataset_is_one_sentence(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {f"{number}.cls": b"1" for number in range(50)})
    path = open_index([open_inputs([str(tar)])]).path
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    index = open_index([open_inputs([str(tar)])])
    with pytest.raises(DatasetError, match=rf"{path.name}: bytes .* delete this index"):
        index.find("3")
    path.unlink()
    assert open_index([open_inputs([str(tar)])]).find("3") == 3
