"""Where the files of a dataset lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "_info.json"
CLASSES = "classes.txt"
SIZES = "sizes.json"
CATALOG = "catalog.parquet"
CARD = "README.md"
CROISSANT = "croissant.json"
#: Of the hidden files that the loader keeps beside shards; they are derived, and made anew when they are missing.
INDEX_SUFFIX = ".shardforge-index"
_SPLIT = re.compile(r"[a-z0-9_]+")
_SHARD = re.compile(r"([a-z0-9_]+)/[A-Za-z0-9][A-Za-z0-9_-]*-\1-[0-9]{6,}\.tar")


@dataclass(frozen=True)
class Layout:
    """The paths inside a dataset folder.

    What other tools read lies in the open; `.shardforge/` holds what resuming and repairing need: the plan and, for
    each finished shard, a receipt with its checksum, member sizes and the outcomes of its images.
    """

    out: Path

    @property
    def manifest(self) -> Path:
        """The manifest, written last."""
        return self.out / MANIFEST

    @property
    def classes(self) -> Path:
        """One class name a line; the line number is the label."""
        return self.out / CLASSES

    @property
    def catalog(self) -> Path:
        """One row a sample, with what is known of its image."""
        return self.out / CATALOG

    @property
    def card(self) -> Path:
        """The data card."""
        return self.out / CARD

    @property
    def croissant(self) -> Path:
        """The files and their checksums for tools that read Croissant."""
        return self.out / CROISSANT

    @property
    def private(self) -> Path:
        """The folder of plan, receipts, lock and temporary files."""
        return self.out / ".shardforge"

    @property
    def plan(self) -> Path:
        """Which record goes to which shard, one row group a shard."""
        return self.private / "plan.parquet"

    @property
    def lock(self) -> Path:
        """Held by the run that writes the dataset."""
        return self.private / "lock"

    @property
    def scratch(self) -> Path:
        """Temporary files, on the same file system as the shards."""
        return self.private / "tmp"

    @property
    def set_aside(self) -> Path:
        """Where repair moves tars that the manifest does not know."""
        return self.private / "set_aside"

    @property
    def indexes(self) -> Path:
        """The index of each split."""
        return self.out / "index"

    @property
    def receipts(self) -> Path:
        """A receipt for each finished shard."""
        return self.private / "shards"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where runs write and clear away, beside the folders of the splits."""
        return self.private, self.receipts, self.scratch, self.set_aside, self.indexes

    def sizes(self, split: str) -> Path:
        """`{basename: samples}` of a split, for open_clip."""
        return self.out / split / SIZES

    def index(self, split: str) -> Path:
        """Offsets and sizes of a split's members."""
        return self.indexes / f"{split}.parquet"

    def receipt(self, shard: str) -> Path:
        """What is known of a finished shard, `shard` being its path relative to the dataset folder."""
        return self.receipts / f"{Path(shard).name}.json"


def shard_path(name: str, split: str, number: int) -> str:
    """Return a shard's path relative to the dataset folder, as it stands in the manifest."""
    return f"{split}/{name}-{split}-{number:06d}.tar"


def is_shard_path(text: str) -> bool:
    """Tell whether a text is one that `shard_path` returns."""
    return _SHARD.fullmatch(text) is not None


def is_split_name(text: str) -> bool:
    """Tell whether a text can be the name of a split, and of its folder."""
    return _SPLIT.fullmatch(text) is not None
