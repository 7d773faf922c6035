"""Kind `inat21`: the iNaturalist 2021 competition, as class folders that spell out the ranks, as JSON, or both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from shardforge import reasons
from shardforge.errors import UsageError
from shardforge.records import RANKS
from shardforge.sources.archives import find_files, locate_tree
from shardforge.sources.base import SourceSpec, find_option_files, locate_file, split_option
from shardforge.sources.columns import dump_metadata
from shardforge.sources.inat_annotations import Annotations
from shardforge.sources.keyed import FileMatch, iter_slices
from shardforge.sources.listing import Found, batched, make_found_batch
from shardforge.sources.reading import MEMBER_MARK
from shardforge.sources.written_paths import make_named_batch, make_nameless_batch
from shardforge.taxonomy.taxon import make_taxon

#: What a folder says about its images: a value for each of `_COLUMNS`.
_Said = tuple[str | None, ...]
_COLUMNS = ("label", *RANKS, "metadata", "reason")
_TREES = ("train", "train_mini", "val")


class Inat21Source:
    """Class folders `02912_Animalia_Chordata_Aves_Passeriformes_FAMILY_GENUS_EPITHET`, below any number of folders.

    Annotation files add common names, licences, photographers, dates and places. An annotation file as the root lists
    its own `images`, and the folders say nothing.
    """

    options: ClassVar[Mapping[str, str]] = {
        "annotations": "annotation files of the competition by comma, named from the root (default: none)",
        "trees": "top-level folders by comma (default: train, train_mini and val if there is one of them, else all)",
        "root": "where the root is an annotation file: the folder that its paths start from (default: its folder)",
    }

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self._annotations = find_option_files(spec, "annotations")
        self._trees = _find_trees(spec)
        self._classes: dict[str, _Said] = {}

    @staticmethod
    def locate(location: Path, options: Mapping[str, str]) -> tuple[Path, Path | None]:
        """Return the folder that paths start from, and the annotation file or archive."""
        if location.suffix == ".json":
            if "annotations" in options:
                raise UsageError(f"option annotations: {location} is itself one; name several beside a folder as root")
            return locate_file(location, options)
        if "root" in options:
            raise UsageError(f"option root: {location} is no annotation file; a folder is its own root")
        return locate_tree(location, options)

    def list(self) -> Iterator[pa.Table]:
        """Yield the images of the annotations in their order, then the other files in the order of the walk."""
        if self.spec.file is not None and self.spec.file.suffix == ".json":
            yield from self._list_annotated(Annotations(self.spec.file))
            return
        found = (file for file in find_files(self.spec) if f"{file.path}/".startswith(self._trees))
        if self._annotations:
            yield from self._list_both(list(found))
        else:
            yield from self._list_folders(found)

    def _list_annotated(self, annotations: Annotations) -> Iterator[pa.Table]:
        yield from self._list_nameless(annotations)
        for batch in iter_slices(annotations.images):
            yield make_named_batch(self.spec, batch["file_name"].to_pylist(), annotations.describe(batch))

    def _list_nameless(self, annotations: Annotations) -> Iterator[pa.Table]:
        for batch in batched(annotations.nameless):
            yield make_nameless_batch(self.spec, annotations.file, [f"images[{number}]" for number in batch])

    def _list_folders(self, found: Iterable[Found]) -> Iterator[pa.Table]:
        for batch in batched(found):
            columns = dict(zip(_COLUMNS, zip(*map(self._read_class, batch), strict=True), strict=True))
            yield make_found_batch(self.spec, batch, columns)

    def _list_both(self, found: Sequence[Found]) -> Iterator[pa.Table]:
        """Yield the annotated images with what JSON says, then those of which only the folder is known."""
        for said in map(Annotations, self._annotations):
            yield from self._list_nameless(said)
            names = _shorten(pc.replace_substring(said.images["file_name"].combine_chunks(), "\\", "/"))
            match = FileMatch(_shorten(pa.array([file.path for file in found], pa.string())), names)
            for rows, files in match.join(iter_slices(said.images)):
                images = [
                    Found(name, reason=reasons.VANISHED) if file is None else found[file]
                    for name, file in zip(rows["file_name"].to_pylist(), files, strict=True)
                ]
                yield make_found_batch(self.spec, images, said.describe(rows))
            found = [found[i] for i in match.unmatched]
        yield from self._list_folders(found)

    def _read_class(self, file: Found) -> _Said:
        """Return what the folder of a file says."""
        folder = file.path.rpartition("/")[0]
        if folder not in self._classes:
            self._classes[folder] = _parse_folder(folder)
        return self._classes[folder]


def _find_trees(spec: SourceSpec) -> tuple[str, ...]:
    """Return what the paths of a source may begin with: its trees, as folders or as archives of these names."""
    if spec.file is not None:
        return ("",)
    asked = split_option(spec, "trees")
    there = [tree for tree in _TREES if (spec.root / tree).is_dir() or (spec.root / f"{tree}.tar").is_file()]
    return tuple(prefix for tree in asked or there for prefix in (f"{tree.rstrip('/')}/", f"{tree}.tar")) or ("",)


def _parse_folder(folder: str) -> _Said:
    """Return what the path of a class folder says: number and seven ranks, of which only the last has underscores."""
    trees, _, name = folder.rpartition(MEMBER_MARK)[2].rpartition("/")
    number, *names = name.split("_")
    taxon = make_taxon(dict(zip(RANKS, [*names[:6], " ".join(names[6:])], strict=True))) if len(names) > 6 else None
    if taxon is None or not taxon.name or not number.isdecimal() or any(map(_is_epithet, names[:6])):
        return None, *[None] * len(RANKS), None, reasons.MISNAMED
    ranks = [taxon.ranks.get(rank) for rank in RANKS]
    metadata = dump_metadata({"category_id": int(number), "tree": trees.partition("/")[0]})
    return taxon.name, *ranks, metadata, None


def _is_epithet(name: str) -> bool:
    return name[:1].islower()


def _shorten(paths: pa.Array) -> pa.Array:
    """Return the last folder and the name of each path: below whatever root, they name an image of the competition."""
    return pc.struct_field(pc.extract_regex(paths, r"(?P<name>[^/:]*/?[^/]*)$"), "name")
