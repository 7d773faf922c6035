"""What a sample in a tar is: one rule for all who read tars, that of webdataset (`group_by_keys`, `base_plus_ext`).

A sample is a run of members whose names are alike up to the first dot of the file name: their key. What follows that
dot, in lower case, is the extension. What is no regular file, has no dot in its file name or is named `__X__`, or lies
in a top folder of such a name, belongs to no sample and may stand between the members of one.

Hidden files (`._a.jpg`, which tars of a Mac have beside each file) belong to no sample either. Here webdataset differs
where they lie in a folder: for it `train/._a.jpg` is a member of a sample `train/`, which parts those around it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shardforge import reasons
from shardforge.tarfiles import Member

#: Extensions of images, the strongest first where a sample has several; read by name only where content cannot be.
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")
IMAGE_SUFFIXES = tuple(f".{extension}" for extension in IMAGE_EXTENSIONS)
#: The extension of a class number.
LABEL = "cls"

#: Bytes of a member that is read as a whole: what is larger is no image, no label, no text of a sample.
MOST_IMAGE = 1 << 30
MOST_LABEL = 1 << 16
MOST_TEXT = 16 << 20

_META = re.compile(r"__[^/]*__(?:$|/)")
#: Digits of a class number, sign and all: more than any class file has lines.
_MOST_DIGITS = 19

#: Something that a user should know about samples -> how it is told.
NOTES = {
    "scattered": "keys that stand in several places of one tar: {count}, such as {example}; members that are no "
    "neighbours are samples of their own for all readers: pack the members of a sample one after another",
    "dotted": "{count} of {total} samples have dots in the names of their images or labels, such as {example}: what "
    "follows the first dot is the extension, so that readers find no plain image or label there; rename them",
    "doubled": "{count} of {total} samples have two members with one extension, such as {example}: webdataset and the "
    "loader refuse such a tar",
    "no_image": "{count} of {total} samples have no image, such as {example}",
    "no_label": "{count} of {total} images have no label, such as {example}",
    "no_cls": "{count} of {total} samples have no .cls; that is good where it was meant, as by `shardforge write "
    "--unlabelled keep`; for instance {example}",
    "no_number": "{count} of {total} samples have a .cls that is no class number, such as {example}",
    "stray": "images or labels that belong to no sample: {count}, such as {example}; names that begin with a dot, and "
    "what is called __X__, are passed over",
    "hidden": "hidden files in folders: {count}, such as {example}; they are passed over here, but webdataset takes "
    "each for a sample of its folder, which parts its neighbours: delete them from the tar",
    "links": "links in place of images or labels: {count}, such as {example}; readers pass over them",
    "compressed": "tars that are compressed: {count}, such as {example}",
    "unread": "samples whose label or text cannot be read: {count}, such as {example}",
}


class Sample(NamedTuple):
    """Neighbours in a tar that have a key in common, each with its extension."""

    key: str
    members: list[tuple[str, Member]]

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions, in the order of the members."""
        return tuple([extension for extension, _ in self.members])


def split_name(name: str) -> tuple[str, str]:
    """Return a member's key and extension, both empty where it belongs to no sample."""
    folder, slash, file_name = name.rpartition("/")
    stem, dot, extension = file_name.partition(".")
    if not stem or not dot or (name.startswith("__") and _META.match(name)):
        return "", ""
    return folder + slash + stem, extension.lower()


def iter_samples(members: Iterable[Member], *, strays: bool = False) -> Iterator[Sample]:
    """Yield the samples of a tar, in order.

    With `strays`, each member that belongs to none is yielded, too, before the sample around it: without a key, and
    with an empty extension. Members with a `reason` are among these.
    """
    key = ""
    held: list[tuple[str, Member]] = []
    for member in members:
        name, extension = ("", "") if member.reason else split_name(member.name)
        if not name:
            if strays:
                yield Sample("", [("", member)])
            continue
        if held and name != key:
            yield Sample(key, held)
            held = []
        key = name
        held.append((extension, member))
    if held:
        yield Sample(key, held)


def is_image_extension(extension: str) -> bool:
    """Tell whether a member with this extension is an image, such as `jpg` and `left.png`."""
    return extension.rpartition(".")[2] in IMAGE_EXTENSIONS


def parse_label(data: bytes) -> int | None:
    """Return the class number in a .cls member, as `int` reads it and thus all readers; None for other text."""
    digits = data.strip()
    try:
        return int(digits) if len(digits) <= _MOST_DIGITS else None
    except ValueError:
        return None


def hash_keys(keys: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Return the first 64 bits of the BLAKE2b of each key."""
    digests = [hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest() for key in keys]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


@lru_cache(maxsize=1 << 10)
def find_oddities(extensions: tuple[str, ...]) -> tuple[str, ...]:
    """Return the codes of `NOTES` that hold for a sample with members of these extensions."""
    images = [extension for extension in extensions if is_image_extension(extension)]
    labels = [extension for extension in extensions if extension.rpartition(".")[2] == LABEL]
    found = {
        "no_image": not images,
        "no_cls": LABEL not in extensions,
        "dotted": bool(images and all("." in image for image in images)) or bool(labels and LABEL not in labels),
        "doubled": len(set(extensions)) < len(extensions),
    }
    return tuple(code for code, holds in found.items() if holds)


@dataclass(frozen=True)
class Note:
    """Something that a user should know about some samples.

    Attributes:
        code: One of `NOTES`.
        count: How many samples it holds for.
        example: One of these.
        text: All of this as a sentence.
    """

    code: str
    count: int
    example: str
    text: str


class SampleNotes:
    """Counts what is odd about samples, with an example of each kind; notes on several tars add up.

    Attributes:
        samples: how many there are.
        images: how many were asked for a label, from whatever source; None where only .cls is looked for.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.samples = 0
        self.images: int | None = None
        self.examples: dict[str, str] = {}

    def add(self, code: str, example: str, count: int = 1) -> None:
        """Count `count` more of a kind."""
        self.counts[code] += count
        self.examples.setdefault(code, example)

    def add_sample(self, place: str, sample: Sample) -> None:
        """Count what the extensions of a sample in the tar `place` say."""
        self.samples += 1
        for code in find_oddities(sample.extensions):
            self.add(code, f"{place}: {sample.members[0][1].name}")

    def add_stray(self, place: str, member: Member) -> None:
        """Count a member that belongs to no sample where its name is that of an image or a label."""
        folder, slash, file_name = member.name.rpartition("/")
        hidden = slash and file_name.startswith(".") and "." not in folder.rpartition("/")[2]
        if hidden and not member.reason and not _META.match(member.name):
            self.add("hidden", f"{place}: {member.name}")
        elif file_name.lower().endswith((*IMAGE_SUFFIXES, f".{LABEL}")):
            self.add("links" if member.reason == reasons.LINK else "stray", f"{place}: {member.name}")

    def add_scattered(self, place: str, hashes: npt.NDArray[np.generic], key_of: Callable[[int], str]) -> None:
        """Count the keys that occur more than once in a tar.

        Args:
            place: The tar.
            hashes: A hash of each sample's key.
            key_of: Returns the key of the sample with a number.
        """
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        if repeated := int((counts > 1).sum()):
            self.add("scattered", f"{place}: {key_of(int(first[counts > 1].min()))}", repeated)

    def update(self, other: SampleNotes) -> None:
        """Add the notes on other tars."""
        self.counts.update(other.counts)
        self.samples += other.samples
        self.examples = other.examples | self.examples

    def tell(self) -> list[Note]:
        """Return what is to be told, in the order of `NOTES`."""
        silent = {"no_label" if self.images is None else "no_cls"}
        if self.counts["no_cls"] == self.samples and self.counts["no_label"] in (0, self.images):
            silent = {"no_label", "no_cls"}  # a tar without any label is meant to be one
        notes = []
        for code in [code for code in NOTES if self.counts[code] and code not in silent]:
            count, example = self.counts[code], self.examples[code]
            total = self.images if code == "no_label" else self.samples
            told = NOTES[code].format(count=f"{count:,}", total=f"{total:,}", example=example)
            notes.append(Note(code, count, example, told))
        return notes
