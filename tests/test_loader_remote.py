"""Remote shards, from a real HTTP server and a real S3 server, that also fail in the ways that networks do."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline import manifest, prepare, run, write

from shardforge.errors import DatasetError, ManifestError, UsageError
from shardforge.loader import network
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.loader import ShardLoader
from shardforge.loader.network import Retries, hide_credentials
from shardforge.loader.storage import RemoteOptions
from shardforge.loader.storage.cache import ShardCache

RETRIES = Retries(attempts=3, delay=0.01)
EVERYTHING = ("jpg", "json", "cls", "__key__")

#: Opens a dataset by its URL with a cache of its own, and prints how many samples it read.
READ_ALL = """
import sys
from pathlib import Path
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.storage import RemoteOptions
dataset = ShardDataset(sys.argv[1], split="train", decode=False, remote=RemoteOptions(Path(sys.argv[2])))
print(len(list(dataset)))
"""


#: What a server sends in place of a part of a file: given all of it, the status, the part and where it begins.
LIES: dict[str, Callable[[bytes, int, bytes, int], tuple[int, bytes]]] = {
    "": lambda whole, status, part, start: (status, part),
    "whole": lambda whole, status, part, start: (200, whole),
    "from the start": lambda whole, status, part, start: (status, whole[: len(part)]),
    "from the start, as a whole": lambda whole, status, part, start: (200, whole[: len(part)]),
    "the next block": lambda whole, status, part, start: (status, (whole + whole)[start + 512 :][: len(part)]),
    "shorter": lambda whole, status, part, start: (status, part[:-1]),
    "longer": lambda whole, status, part, start: (status, part + b"x"),
    "empty": lambda whole, status, part, start: (status, b""),
    "other bytes": lambda whole, status, part, start: (status, bytes(255 - byte for byte in part)),
    "a flipped bit": lambda whole, status, part, start: (status, part[:-700] + bytes([part[-700] ^ 1]) + part[-699:]),
    "a page of a portal": lambda whole, status, part, start: (200, b"<html>Log in</html>".ljust(len(part))),
}


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder, with ranges and ETags, and counts what is asked for; told to, it is slow or fails."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
        self.folder = folder
        self.sent: Counter[str] = Counter()  # requests by file name, and bytes of tars
        self.bytes = 0
        self.failures = 0  # requests that get a 500, from now on
        self.seconds = 0.0  # before a file of this kind is sent
        self.slow = ".tar"
        self.cut = 0  # bytes that answers lack
        self.lie = ""  # what answers to ranges of tars hold in place of what was asked for
        self.ranges = True
        threading.Thread(target=self.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = Path(self.translate_path(self.path))
        if self.server.failures:
            self.server.failures -= 1
            self._send(500, b"")
        elif not path.is_file():
            self._send(404, b"")
        else:
            self._send_file(path, body=body)

    def _send_file(self, path: Path, *, body: bool) -> None:
        data = path.read_bytes()
        headers = {"ETag": f'"{hash(data)}"', "Accept-Ranges": "bytes" if self.server.ranges else "none"}
        status, asked = 200, self.headers.get("Range")
        if asked and self.server.ranges:
            start, end = (int(number) for number in asked.removeprefix("bytes=").split("-"))
            headers["Content-Range"] = f"bytes {start}-{min(end, len(data) - 1)}/{len(data)}"
            whole, status, data = data, 206, data[start : end + 1]
            if path.suffix == ".tar":
                status, data = LIES[self.server.lie](whole, status, data, start)
        if body:
            self.server.sent[path.name] += 1
            if path.suffix == ".tar":
                self.server.bytes += len(data)
            if path.suffix == self.server.slow:
                time.sleep(self.server.seconds)
        self._send(status, data, headers, body=body)

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None, *, body: bool = True) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) - self.server.cut])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    write(prepare(folder, f"photos=table:{photos / 'photos.csv'}"), folder / "out", "--label", "family")
    return folder / "out"


@pytest.fixture
def out(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of a dataset that a test may change; the user's cache is a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return Path(shutil.copytree(written, tmp_path / "out"))


@pytest.fixture
def server(out: Path) -> Iterator[Server]:
    server = Server(out)
    yield server
    server.stop()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def open_remote(url: str, cache: Path, **options: Any) -> ShardDataset:
    remote = RemoteOptions(cache, retries=RETRIES, **options)
    return ShardDataset(f"{url}/_info.json", split="train", members=EVERYTHING, decode=False, remote=remote)


def open_local(out: Path) -> ShardDataset:
    return ShardDataset(out, split="train", members=EVERYTHING, decode=False)


def first_shard(out: Path) -> Path:
    return out / manifest(out)["splits"]["train"]["filenames"][0]


def shard_sizes(out: Path) -> list[int]:
    return manifest(out)["splits"]["train"]["shard_bytes"]


def without_checksums(out: Path) -> None:
    """Take the SHA-256 of the shards out of the manifest, as other tools write it."""
    content = manifest(out)
    for split in content["splits"].values():
        del split["shard_sha256"]
    (out / "_info.json").write_text(json.dumps(content))


def test_samples_are_those_of_the_local_shards(server: Server, out: Path, cache: Path) -> None:
    dataset = open_remote(server.url, cache)
    assert server.sent == {"_info.json": 1, "classes.txt": 1, "train.parquet": 1}
    local = open_local(out)
    assert list(dataset) == list(local)
    assert dataset.index.fingerprint == local.index.fingerprint
    tars = len(dataset.index.lengths)
    assert sum(server.sent.values()) == 3 + tars
    assert list(open_remote(server.url, cache)) == list(local)
    # The second time, manifest and classes alone.
    assert sum(server.sent.values()) == 5 + tars


def test_without_a_cache_only_what_is_read_is_sent(server: Server, out: Path, cache: Path) -> None:
    local = open_local(out)
    dataset = open_remote(server.url, cache, cache_bytes=0)
    assert dataset[3] == local[3]
    assert server.bytes < shard_sizes(out)[0] / 2
    assert list(dataset) == list(local)
    assert not cache.exists()


@pytest.mark.parametrize("cache_bytes", [1 << 30, 0])
def test_foreign_tars_are_indexed_and_read(server: Server, out: Path, cache: Path, cache_bytes: int) -> None:
    names = [f"{server.url}/{name}" for name in manifest(out)["splits"]["train"]["filenames"]]
    remote = RemoteOptions(cache, cache_bytes=cache_bytes)
    dataset = ShardDataset(names, members=EVERYTHING, decode=False, remote=remote)
    assert list(dataset) == list(open_local(out))
    assert np.array_equal(dataset.labels, open_local(out).labels)
    if cache_bytes:
        assert server.bytes == sum(shard_sizes(out))


def test_a_server_without_ranges(server: Server, out: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.ranges = False
    monkeypatch.setattr("shardforge.loader.ranges._PIECE", 4096)
    assert list(open_remote(server.url, cache)) == list(open_local(out))
    with pytest.raises(DatasetError, match="the server cannot read parts of a file; read whole shards"):
        open_remote(server.url, cache, cache_bytes=0)[0]


def test_shards_come_in_pieces(server: Server, out: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardforge.loader.ranges._PIECE", 3000)
    assert list(open_remote(server.url, cache)) == list(open_local(out))
    assert server.sent[first_shard(out).name] == -(-shard_sizes(out)[0] // 3000)


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_batches_are_those_of_the_local_shards(server: Server, out: Path, cache: Path, workers: Any) -> None:
    options: dict[str, Any] = {"global_batch_size": 7, "members": ("sample", "json"), "block_shards": 2, "seed": 5}
    loader = ShardLoader(open_remote(server.url, cache), workers=workers, num_workers=2, **options)
    local = ShardLoader(open_local(out), num_workers=0, **options)
    for _ in range(2):
        for (samples, texts), (expected, expected_texts) in zip(loader, local, strict=True):
            assert samples.tolist() == expected.tolist()
            assert texts == expected_texts
    loader.close()
    # The shards were asked for ahead and by several workers, and came once each.
    assert server.bytes == sum(shard_sizes(out))


def test_the_next_shards_are_fetched_before_they_are_needed(server: Server, out: Path, cache: Path) -> None:
    loader = ShardLoader(
        open_remote(server.url, cache, ahead=2), global_batch_size=2, members=("sample",), shuffle=False, num_workers=0
    )
    batches = iter(loader)
    for _ in range(3):  # six of the first shard's eight samples; for their numbers no shard has to be read
        next(batches)
    wait_until(lambda: len(list(cache.glob("*.shard"))) == 3)
    time.sleep(0.1)
    assert len(server.sent) == 3 + 3  # the one in use, two ahead, and what opened the dataset


def wait_until(done: Any) -> None:
    for _ in range(500):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError("did not happen within 10 s")


def test_the_cache_keeps_its_limit_and_what_was_used_last(server: Server, out: Path, cache: Path) -> None:
    sizes = shard_sizes(out)
    limit = sum(sorted(sizes)[-2:])
    dataset = open_remote(server.url, cache, cache_bytes=limit)
    local = open_local(out)
    firsts = np.cumsum([0, *dataset.index.lengths[:-1]]).tolist()
    for first in firsts:
        assert dataset[first] == local[first]
        assert sum(path.stat().st_size for path in cache.iterdir()) <= limit
    # Shards that were removed while they were open are read on; in a new process the last two are there.
    sent = server.bytes
    assert dataset[1] == local[1]
    again = open_remote(server.url, cache, cache_bytes=limit)
    assert again[firsts[-1]] == local[firsts[-1]]
    assert server.bytes == sent
    assert again[0] == local[0]
    assert server.bytes == sent + sizes[0]


def test_a_shard_larger_than_the_cache_is_refused(server: Server, out: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match=r"a shard of [\d,]+ bytes is larger than the cache of 1,000; make the cache"):
        open_remote(server.url, cache, cache_bytes=1000)[0]


def test_processes_that_share_a_cache_download_each_shard_once(server: Server, out: Path, cache: Path) -> None:
    server.seconds = 0.2
    command = [sys.executable, "-c", READ_ALL, f"{server.url}/_info.json", str(cache)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [reader.communicate()[0].strip() for reader in readers] == [str(len(open_local(out)))] * 2
    tars = {name: count for name, count in server.sent.items() if name.endswith(".tar")}
    assert tars == {Path(name).name: 1 for name in manifest(out)["splits"]["train"]["filenames"]}
    assert {path.suffix for path in cache.iterdir()} == {".shard"}


def test_nothing_of_a_killed_download_is_taken_for_a_shard(server: Server, out: Path, cache: Path) -> None:
    server.seconds = 60
    reader = subprocess.Popen([sys.executable, "-c", READ_ALL, f"{server.url}/_info.json", str(cache)])
    wait_until(lambda: server.bytes)
    waiting = threading.Thread(target=lambda: open_remote(server.url, cache)[0], daemon=True)
    waiting.start()
    server.seconds = 0
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    waiting.join(20)  # the lock went with the process
    assert not waiting.is_alive()
    (cache / "0.part").write_bytes(bytes(1000))
    assert list(open_remote(server.url, cache)) == list(open_local(out))
    assert {path.suffix for path in cache.iterdir()} == {".shard"}


def test_a_server_that_dies_in_mid_epoch_is_one_sentence(server: Server, out: Path, cache: Path) -> None:
    loader = ShardLoader(
        open_remote(server.url, cache, ahead=0), global_batch_size=4, members=("json",), shuffle=False, num_workers=1
    )
    batches = iter(loader)
    next(batches)
    server.stop()
    with pytest.raises(DatasetError, match=r"\.tar: cannot be read after 3 attempts \(ClientConnectorError: .*network"):
        list(batches)
    loader.close()
    with pytest.raises(DatasetError, match=r"\.tar: cannot be read after 3 attempts"):
        open_remote_shard(server.url, out, cache)


def open_remote_shard(url: str, out: Path, cache: Path) -> None:
    name = manifest(out)["splits"]["train"]["filenames"][0]
    ShardDataset([f"{url}/{name}"], remote=RemoteOptions(cache, retries=RETRIES))


def test_errors_that_pass_are_asked_again(server: Server, out: Path, cache: Path) -> None:
    dataset = open_remote(server.url, cache)
    server.failures = 2
    assert dataset[0] == open_local(out)[0]
    ranged = open_remote(server.url, cache, cache_bytes=0)
    server.failures = 3  # a size is asked for in two ways
    assert ranged[0] == open_local(out)[0]
    server.failures = 6
    with pytest.raises(DatasetError, match=r"cannot be read after 3 attempts .*500"):
        ranged[len(ranged) - 1]


def test_a_server_that_stops_in_mid_answer_is_one_sentence(server: Server, out: Path, cache: Path) -> None:
    dataset = open_remote(server.url, cache)
    server.cut = 10
    with pytest.raises(DatasetError, match=r"\.tar: cannot be read after 3 attempts \(\w+: .*; check the address"):
        dataset[0]
    assert not list(cache.iterdir())


@pytest.mark.parametrize("cache_bytes", [1 << 30, 0])
def test_a_server_that_says_nothing_is_not_waited_for(
    server: Server, out: Path, cache: Path, cache_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_remote(server.url, cache, cache_bytes=cache_bytes)
    monkeypatch.setattr(network, "_TIMEOUT", 0.2)
    server.seconds = 2.0
    with pytest.raises(DatasetError, match=r"\.tar: cannot be read after 3 attempts \(FSTimeoutError"):
        dataset[0]
    server.slow = ".json"
    monkeypatch.setattr(Retries, "__init__", functools.partialmethod(Retries.__init__, attempts=2, delay=0.01))
    with pytest.raises(UsageError, match=r"_info\.json: cannot be read after 2 attempts \(FSTimeoutError"):
        open_remote(server.url, cache)


def test_a_missing_shard_is_not_asked_for_again(server: Server, out: Path, cache: Path) -> None:
    dataset = open_remote(server.url, cache)
    first_shard(out).unlink()
    with pytest.raises(DatasetError, match=r"train-000000\.tar: cannot be read \(not found\); check the address"):
        dataset[0]


def flip_a_byte(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    with tarfile.open(shard) as tar:
        member = tar.next()
        assert member is not None
        data[member.offset_data + 200] ^= 1
    shard.write_bytes(data)


def test_a_flipped_byte_is_found_and_not_kept(server: Server, out: Path, cache: Path) -> None:
    before = first_shard(out).read_bytes()
    flip_a_byte(first_shard(out))
    dataset = open_remote(server.url, cache)
    with pytest.raises(DatasetError, match=r"train-000000\.tar: its SHA-256 is not that of the manifest"):
        dataset[0]
    assert not list(cache.iterdir())
    first_shard(out).write_bytes(before)
    assert dataset[0] == open_local(out)[0]


@pytest.mark.parametrize("cache_bytes", [1 << 30, 0])
def test_an_object_that_changed_is_refused(server: Server, out: Path, cache: Path, cache_bytes: int) -> None:
    without_checksums(out)
    dataset = open_remote(server.url, cache, cache_bytes=cache_bytes)
    assert dataset[0] == open_local(out)[0]
    later = len(dataset) - 1
    last = out / manifest(out)["splits"]["train"]["filenames"][-1]
    flip_a_byte(last)
    with pytest.raises(DatasetError, match=r"changed since it was indexed: .* or another ETag or time of change"):
        dataset[later]
    # Opened again it is indexed anew; what the cache holds of the other state is not used.
    assert open_remote(server.url, cache, cache_bytes=cache_bytes)[later] == open_local(out)[later]


def test_a_cached_shard_that_was_cut_is_downloaded_again(server: Server, out: Path, cache: Path) -> None:
    assert open_remote(server.url, cache)[0] == open_local(out)[0]
    (kept,) = cache.iterdir()
    os.truncate(kept, 100)
    assert open_remote(server.url, cache)[0] == open_local(out)[0]


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie])
def test_parts_that_are_not_what_was_asked_for_are_noticed(lie: str, server: Server, out: Path, cache: Path) -> None:
    local = open_local(out)
    dataset = open_remote(server.url, cache, cache_bytes=0)
    server.lie = lie
    for number in (0, len(local) // 2, len(local) - 1):
        with pytest.raises(DatasetError, match=rf"^{server.url}/.*\.tar: "):
            assert dataset[number] == local[number]
    server.lie = ""
    assert list(dataset) == list(local)


@pytest.mark.parametrize("lie", ["other bytes", "a flipped bit", "shorter", "longer", "a page of a portal"])
def test_a_download_that_is_not_the_shard_is_not_kept(lie: str, server: Server, out: Path, cache: Path) -> None:
    dataset = open_remote(server.url, cache)
    server.lie = lie
    for number in (0, len(dataset) - 1):
        with pytest.raises(DatasetError, match=r"\.tar: "):
            dataset[number]
    assert not list(cache.iterdir())
    server.lie = ""
    assert dataset[0] == open_local(out)[0]


def rot(path: Path, place: int = 3000) -> None:
    """Flip a bit of a file, as a disk does, without a trace in its times."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("manifest_knows", [True, False])
def test_a_cached_shard_that_rots_comes_again(
    manifest_knows: bool, server: Server, out: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardforge.loader.storage.checks.PIECE", 5_000)
    if not manifest_knows:
        without_checksums(out)
    local = list(open_local(out))
    assert list(open_remote(server.url, cache)) == local
    sent = server.bytes
    size = shard_sizes(out)[0]
    for place in (0, 3000, 5_001, size - 1, size + 2, -1):
        kept = min(cache.iterdir(), key=lambda path: abs(path.stat().st_size - size))
        rot(kept, place)
        assert list(open_remote(server.url, cache)) == local
        assert list(open_remote(server.url, cache)) == local
    assert server.bytes == sent + 6 * shard_sizes(out)[0]


def test_a_cached_shard_that_rots_while_the_server_is_gone_is_one_sentence(
    server: Server, out: Path, cache: Path
) -> None:
    dataset = open_remote(server.url, cache)
    kept = dataset[0]
    server.stop()
    for path in cache.iterdir():
        rot(path)
    again = pickle.loads(pickle.dumps(dataset))
    assert dataset[0] == kept  # looked at before, and in memory since
    with pytest.raises(DatasetError, match=r"\.tar: cannot be read after 3 attempts"):
        again[0]


def test_a_cached_shard_of_0_1_0_is_read(server: Server, out: Path, cache: Path) -> None:
    cache.mkdir()
    for name, digest in zip(
        *(manifest(out)["splits"]["train"][of] for of in ("filenames", "shard_sha256")), strict=True
    ):
        shutil.copy(out / name, cache / f"{hashlib.sha256(digest.encode()).hexdigest()[:32]}.shard")
    assert list(open_remote(server.url, cache)) == list(open_local(out))
    assert server.bytes == 0


def test_links_in_a_cache_are_not_followed(server: Server, out: Path, cache: Path, tmp_path: Path) -> None:
    assert open_remote(server.url, cache)[0] == open_local(out)[0]
    (kept,) = cache.iterdir()
    thesis = tmp_path / "thesis"
    thesis.write_bytes(kept.read_bytes())
    kept.unlink()
    kept.symlink_to(thesis)
    kept.with_suffix(".part").symlink_to(tmp_path / "new")
    (cache / "0.part").symlink_to(thesis)
    with pytest.raises(DatasetError):
        open_remote(server.url, cache)[0]
    kept.with_suffix(".part").unlink()
    assert open_remote(server.url, cache)[0] == open_local(out)[0]
    assert not kept.is_symlink()
    assert not (cache / "0.part").is_symlink()
    assert thesis.read_bytes() == kept.read_bytes()
    assert not (tmp_path / "new").exists()


def test_an_untrusted_manifest_makes_no_requests_elsewhere(server: Server, out: Path, cache: Path) -> None:
    other = Server(out)
    content = manifest(out)
    names = content["splits"]["train"]["filenames"]
    content["splits"]["train"]["filenames"] = [f"{server.url}/{name}" for name in names]
    (out / "_info.json").write_text(json.dumps(content))
    assert (
        open_remote(server.url, cache)[0]
        == ShardDataset([out / name for name in names], members=EVERYTHING, decode=False)[0]
    )
    content["splits"]["train"]["filenames"] = [f"{other.url}/{name}" for name in names]
    (out / "_info.json").write_text(json.dumps(content))
    with pytest.raises(ManifestError, match="give --trust"):
        open_remote(server.url, cache)
    assert not other.sent
    remote = RemoteOptions(cache / "of its own", retries=RETRIES)
    assert ShardDataset(f"{server.url}/_info.json", split="train", remote=remote, trust=True)[0]
    assert other.sent
    other.stop()


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    def download() -> Iterator[bytes]:
        yield b"x"
        raise OSError(28, os.strerror(28))

    cache = ShardCache(tmp_path, 1 << 20)
    with pytest.raises(DatasetError, match=r"no space left on the device for a cache of 1,048,576 bytes; free some"):
        cache.open("a", 2, download)
    assert not list(tmp_path.iterdir())


def test_dali_indices_are_for_local_tars(server: Server) -> None:
    result = run("index", f"{server.url}/_info.json", "--split", "train", "--dali", code=2)
    assert "--dali writes beside the tars: give tars of this machine" in result.stderr
    assert "train.parquet" not in server.sent


def test_credentials_are_in_no_message(server: Server, out: Path, cache: Path) -> None:
    host = server.url.removeprefix("http://")
    name = manifest(out)["splits"]["train"]["filenames"][0]
    first_shard(out).unlink()
    for url in (f"http://me:hunter2@{host}/{name}", f"http://{host}/{name}?sig=hunter2"):
        with pytest.raises((DatasetError, UsageError)) as caught:
            ShardDataset(url, remote=RemoteOptions(cache, retries=RETRIES))
        assert "hunter2" not in str(caught.value)
        assert caught.value.__suppress_context__
    assert hide_credentials("GET https://a:b@c.org/d.tar?e=f failed, 's3://g:h@i/j?k'") == (
        "GET https://c.org/d.tar failed, 's3://i/j'"
    )


@pytest.fixture
def bucket(out: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Upload a dataset to an S3 server of the test's own; return its URL."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    name = f"shards-{port}"  # servers in one process share their buckets
    files.mkdir(name)
    files.put(str(out), f"{name}/birds", recursive=True)
    yield f"s3://{name}/birds"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("cache_bytes", [1 << 30, 0])
def test_shards_of_an_s3_server(bucket: str, out: Path, cache: Path, cache_bytes: int) -> None:
    import s3fs

    local = open_local(out)
    assert list(open_remote(bucket, cache, cache_bytes=cache_bytes)) == list(local)
    foreign = ShardDataset(
        f"{bucket}/train/*.tar", members=EVERYTHING, decode=False, remote=RemoteOptions(cache, retries=RETRIES)
    )
    assert list(foreign) == list(local)
    last = manifest(out)["splits"]["train"]["filenames"][-1]
    changed = ShardDataset(f"{bucket}/{last}", remote=RemoteOptions(cache, cache_bytes=cache_bytes, retries=RETRIES))
    flip_a_byte(out / last)
    s3fs.S3FileSystem().put_file(str(out / last), f"{bucket}/{last}".removeprefix("s3://"))
    shutil.rmtree(cache)
    with pytest.raises(DatasetError, match="changed since it was indexed"):
        changed[0]
