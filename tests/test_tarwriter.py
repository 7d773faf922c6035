"""The bytes of a shard and what is kept of them: fixed for good, and those of Python's own tarfile."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib

import pytest

from shardforge.dataset.tarwriter import MISSING, ShardWriter, member_header, stored_size
from shardforge.tarfiles import iter_members

#: Members of every kind: of no byte, of one block, of a block and a byte, and one that is absent.
SAMPLES = [
    ("0123456789abcdef01234567", (bytes(range(256)) * 2, b"7", b'{"key":"x"}')),
    ("00000000000000000000000a", (b"\xff" * 513, None, b"")),
    ("00000000000000000000000b", (b"", b"12", None)),
]
#: Written down once: other bytes would be another dataset for everyone who has its checksums.
SHA256 = "bcdf508b29ca6c6e9948ebd20d2e2e98716f054546fc72b9ec1d0376b5ce2009"


def write_samples(samples: list[tuple[str, tuple[bytes | None, ...]]]) -> tuple[ShardWriter, bytes, str]:
    file = io.BytesIO()
    writer = ShardWriter(file, ("jpg", "cls", "json"))
    for key, members in samples:
        writer.add_sample(key, members)
    return writer, file.getvalue(), writer.finish()


def less_devices(header: bytes) -> bytes:
    """Return a header less its numbers of a device and its checksum: for regular files, tarfile's releases differ."""
    return header[:148] + header[156:329] + header[345:]


def test_bytes_of_a_shard_stay_as_they_are() -> None:
    writer, before, sha256 = write_samples(SAMPLES)
    data = writer.file.getvalue()  # type: ignore[attr-defined]
    assert data == before + bytes(1024)
    assert writer.size == len(data)
    assert sha256 == hashlib.sha256(data).hexdigest() == SHA256
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    assert found == [
        (f"{key}.{extension}", member)
        for key, members in SAMPLES
        for extension, member in zip(writer.extensions, members, strict=True)
        if member is not None
    ]


def test_sizes_and_checksums_are_kept_of_every_sample() -> None:
    writer, data, _ = write_samples(SAMPLES)
    assert writer.sizes == [[512, 513, 0], [1, MISSING, 2], [11, 0, MISSING]]
    members = [members for _, members in SAMPLES]
    assert writer.crcs == [[zlib.crc32(sample[place] or b"") for sample in members] for place in range(3)]
    found = {member.name: member for member in iter_members(memoryview(data + bytes(1024)))}
    assert [member.size for member in found.values()] == [512, 1, 11, 513, 0, 0, 2]
    assert sum(stored_size(member.size) for member in found.values()) == len(data)


@pytest.mark.parametrize("name", ["n" * 100, "é" * 50, "a"])
@pytest.mark.parametrize("size", [0, 1, 8**11 - 1])
def test_header_is_that_of_tarfile_up_to_the_limits_of_ustar(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    header = member_header(name, size)
    assert less_devices(header) == less_devices(info.tobuf(tarfile.USTAR_FORMAT))
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == size  # and the checksum is right


@pytest.mark.parametrize(("name", "size"), [("n" * 101, 0), ("é" * 51, 0), ("a", 8**11)])
def test_what_ustar_cannot_hold_is_refused(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"tar member '{name}' of {size} bytes: ustar holds names of 100 bytes"):
        member_header(name, size)
