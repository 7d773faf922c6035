"""The text index of NVIDIA DALI's `fn.readers.webdataset`, version 1.2, as its wds2idx makes it.

The first line is `v1.2 SAMPLES`; then each sample is a line of `EXTENSION OFFSET SIZE NAME` for each of its members.
The samples are those of the loader, extensions in lower case.
"""

from __future__ import annotations

from pathlib import Path

from shardforge.errors import DatasetError
from shardforge.files import FileView, atomic_write, open_regular
from shardforge.samples import Sample, iter_samples
from shardforge.tarfiles import iter_members


def write_dali_index(tar: str) -> Path:
    """Write `NAME.idx` beside `NAME.tar` and return its path.

    Raises:
        DatasetError: the tar is damaged, cannot be read, or has what the format cannot hold: a name with a space, or
            without an extension.
    """
    try:
        with open(open_regular(tar), "rb") as file:
            lines = [_describe(sample) for sample in iter_samples(iter_members(FileView(file.fileno())))]
    except (OSError, ValueError, DatasetError) as error:
        raise DatasetError(f"{tar}: cannot be indexed for DALI ({error})") from error
    path = Path(tar).with_suffix(".idx")
    with atomic_write(path) as index:
        index.write("\n".join([f"v1.2 {len(lines)}", *lines, ""]).encode())
    return path


def _describe(sample: Sample) -> str:
    for extension, member in sample.members:
        if not extension or any(character.isspace() for character in member.name):
            problem = "a space" if extension else "no extension"
            raise ValueError(f"the name {member.name!r} has {problem}")
    return " ".join(
        f"{extension} {member.data_offset} {member.size} {member.name}" for extension, member in sample.members
    )
