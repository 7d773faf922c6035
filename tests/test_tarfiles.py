from __future__ import annotations

import io
import mmap
import tarfile
from pathlib import Path

import pytest

from shardforge.tarfiles import Member, TarError, TruncatedTarError, iter_members

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = ["a.jpg", "a.cls", "folder/b.jpg", f"{'deep/' * 20}{'c' * 90}.jpg"]


def make_tar(format: int, names: list[str]) -> bytes:
    """Return a tar with a directory, a link and one file per name, of 0, 700, 1400, … bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for i, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 700 * i
            tar.addfile(info, io.BytesIO(bytes([i]) * info.size))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, f"{'x' * 99}"
        tar.addfile(link)
    return buffer.getvalue()


def read_until_error(data: bytes) -> tuple[list[Member], TarError | None]:
    members: list[Member] = []
    try:
        members.extend(iter_members(memoryview(data)))
    except TarError as error:
        return members, error
    return members, None


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_members_are_those_of_the_standard_library(format: int) -> None:
    names = NAMES if format == tarfile.USTAR_FORMAT else [*NAMES, f"{'d' * 300}.jpg", "ééé.jpg"]
    data = make_tar(format, names)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(info.name, info.offset_data, info.size) for info in tar if info.isreg()]
    found = [(member.name, member.data_offset, member.size) for member in iter_members(memoryview(data))]
    assert found == expected


def test_sparse_members_of_pax_are_refused() -> None:
    # GNU tar writes a map of the holes before the data, and another name, which readers without the format would take.
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("GNUSparseFile.1/a.jpg")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a.jpg"}
        tar.addfile(info)
    with pytest.raises(TarError, match="the member at byte 0 is sparse"):
        list(iter_members(memoryview(buffer.getvalue())))


def test_offset_is_that_of_the_first_header_of_a_member() -> None:
    data = make_tar(tarfile.GNU_FORMAT, ["a.jpg", f"{'d' * 300}.jpg"])
    short, long = iter_members(memoryview(data))
    assert short.data_offset - short.offset == 512
    assert data[long.offset :].startswith(b"././@LongLink")


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_sizes_of_more_than_8_gib(tmp_path: Path, format: int) -> None:
    info = tarfile.TarInfo("huge.jpg")
    info.size = 9 << 30
    header = info.tobuf(format)
    path = tmp_path / "huge.tar"
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + info.size + 1024)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        assert list(iter_members(view)) == [Member("huge.jpg", 0, len(header), info.size)]


def test_a_cut_tar_gives_what_lies_before_the_cut_and_says_so() -> None:
    data = make_tar(tarfile.GNU_FORMAT, NAMES)
    whole, _ = read_until_error(data)
    end_mark = len(data.rstrip(b"\0")) + -len(data.rstrip(b"\0")) % 512
    for cut in range(0, end_mark + 511, 97):
        members, error = read_until_error(data[:cut])
        assert members == whole[: len(members)]
        assert all(member.data_offset + member.size <= cut for member in members)
        assert isinstance(error, TruncatedTarError), cut


def test_a_changed_header_byte_is_found() -> None:
    data = bytearray(make_tar(tarfile.USTAR_FORMAT, ["a.jpg", "b.jpg"]))
    data[1024] ^= 1  # the name of b.jpg
    members, error = read_until_error(bytes(data))
    assert [member.name for member in members] == ["a.jpg"]
    assert "byte 1024 has a wrong checksum" in str(error)


def test_joined_tars_are_refused() -> None:
    data = make_tar(tarfile.USTAR_FORMAT, ["a.jpg"])
    members, error = read_until_error(data + data)
    assert [member.name for member in members] == ["a.jpg"]
    assert "data follows the end mark" in str(error)


def test_a_file_that_is_no_tar_is_refused() -> None:
    members, error = read_until_error(b"\x89PNG" * 1000)
    assert members == []
    assert error is not None


def test_a_negative_size_is_refused() -> None:
    header = bytearray(tar_header_of_size(b"-0000001000\0"))
    with pytest.raises(TarError, match="octal digits"):
        list(iter_members(memoryview(bytes(header) + bytes(1024))))


def tar_header_of_size(size: bytes) -> bytes:
    header = bytearray(tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)
