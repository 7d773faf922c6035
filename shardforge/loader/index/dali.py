"""The text index of NVIDIA DALI's `fn.readers.webdataset`, version 1.2, as its wds2idx makes it.

The first line is `v1.2 SAMPLES`; then each sample is a line of `EXTENSION OFFSET SIZE NAME` for each of its members.
"""

from __future__ import annotations

import mmap
from itertools import groupby
from pathlib import Path

from shardforge.errors import DatasetError
from shardforge.files import atomic_write
from shardforge.tarfiles import Member, iter_members


def write_dali_index(tar: str) -> Path:
    """Write `NAME.idx` beside `NAME.tar` and return its path.

    Raises:
        DatasetError: the tar is damaged, has a name with a space, which the format cannot hold, or cannot be read.
    """
    try:
        with open(tar, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            named = filter(_key, iter_members(view))
            lines = [_describe_sample(list(members)) for _, members in groupby(named, _key)]
    except (OSError, ValueError) as error:
        raise DatasetError(f"{tar}: cannot be indexed for DALI ({error})") from error
    path = Path(tar).with_suffix(".idx")
    with atomic_write(path) as index:
        index.write("\n".join([f"v1.2 {len(lines)}", *lines, ""]).encode())
    return path


def _describe_sample(members: list[Member]) -> str:
    for member in members:
        if any(character.isspace() for character in member.name):
            raise ValueError(f"the name {member.name!r} has a space")
    return " ".join(f"{_extension(member)} {member.data_offset} {member.size} {member.name}" for member in members)


def _key(member: Member) -> str:
    """Return a member's name up to the first dot of its file name, empty for hidden files."""
    folder, slash, file_name = member.name.rpartition("/")
    stem = file_name.partition(".")[0]
    return folder + slash + stem if stem else ""


def _extension(member: Member) -> str:
    return member.name.rpartition("/")[2].partition(".")[2]
