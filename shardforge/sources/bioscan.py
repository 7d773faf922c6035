"""Kind `bioscan`: BIOSCAN-1M and BIOSCAN-5M, a table of specimens beside their images in folders or packages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge import reasons
from shardforge.errors import SourceError, UsageError, shorten_list
from shardforge.paths import path_to_text
from shardforge.records import RANKS
from shardforge.sources.archives import find_files, locate_tree
from shardforge.sources.base import SourceSpec, choose, find_option_files, split_option
from shardforge.sources.json_columns import join_objects
from shardforge.sources.keyed import FileMatch
from shardforge.sources.listing import Found, batched, make_found_batch
from shardforge.sources.ranks import lowest_rank, normalise_ranks
from shardforge.sources.table_file import read_names, read_text
from shardforge.sources.written_paths import make_nameless_batch

#: Column of BIOSCAN-1M -> the name that BIOSCAN-5M gives it.
_RENAMED = {"uri": "dna_bin", "nucraw": "dna_barcode", "name": "taxon"}
_DESCRIBED = {"copyright_license": "license", "photographer": "author"}
_GROUPS = {"specimen": "processid", "bin": "dna_bin", "none": None}
_IMAGE = ("image_file", "processid")
_PLACE = ("chunk_number", "split", "chunk", *_IMAGE)
_NO_NAME = "not_classified"

#: All of BIOSCAN are arthropods; its tables begin with the phylum.
_KINGDOM = "Animalia"


class BioscanSource:
    """A table with a row for each specimen, and images named by its process id or by the column `image_file`.

    The images may lie at any depth, in part or split folders, or inside zips, tars and HDF5 files.
    """

    options: ClassVar[Mapping[str, str]] = {
        "metadata": "the table of specimens, CSV or TSV, named from the root (must be given)",
        "splits": "values of the column split by comma; other rows and their images are left out (default: all)",
        "group": "what may not be torn apart by a split: specimen (default), bin, or none",
    }
    locate = staticmethod(locate_tree)

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self._group = _GROUPS[choose(spec, "group", tuple(_GROUPS), "specimen")]
        self._splits = split_option(spec, "splits")
        tables = find_option_files(spec, "metadata")
        if len(tables) != 1:
            raise UsageError(
                f"source {spec.name!r}: a source of the kind bioscan needs its table; name one by --option "
                f"{spec.name}.metadata=BIOSCAN_5M_Insect_Dataset_metadata.csv"
            )
        self._table = tables[0]

    def list(self) -> Iterator[pa.Table]:
        """Yield the rows of the table in its order, each with its image, then the files without a row.

        Rows without the name of an image come first; each is a record that is named by its number.
        """
        own = path_to_text(os.path.relpath(self._table, self.spec.root))
        found = [file for file in find_files(self.spec) if file.path != own]
        names, nameless = self._read_image_names()
        yield from self._list_nameless(nameless)
        match = FileMatch(_stem(pa.array([file.path for file in found], pa.string())), names)
        for rows, files in match.join(read_text(self._table)):
            images = [
                Found(path, reason=reasons.VANISHED) if file is None else found[file]
                for path, file in zip(_expect_paths(rows), files, strict=True)
            ]
            yield from self._list_rows(rows, images)
        for batch in batched(found[i] for i in match.unmatched):
            yield make_found_batch(self.spec, batch, {"reason": [reasons.NO_METADATA] * len(batch)})

    def _read_image_names(self) -> tuple[pa.Array, Sequence[int]]:
        """Return the name of each row's image without its suffix, null for none; and the rows asked for without one.

        Raises:
            SourceError: the table is another one.
        """
        header = read_names(self._table)
        column = _find_image_column(header)
        if column is None or (self._splits and "split" not in header):
            wanted = "split" if column else " or ".join(_IMAGE)
            raise SourceError(
                f"{self._table}: no column {wanted}; expected the metadata of BIOSCAN-1M or BIOSCAN-5M, found "
                f"{shorten_list(header)}"
            )
        rows = pa.concat_tables(read_text(self._table, [column, *(["split"] if self._splits else [])])).combine_chunks()
        names = _stem(rows[column].combine_chunks())
        if names.null_count == len(names):
            raise SourceError(f"{self._table}: no row has a {column}; give each row the name of its image")
        asked = pc.is_in(rows["split"], pa.array(self._splits)) if self._splits else pa.repeat(True, len(rows))
        return names, np.flatnonzero(np.asarray(names.is_null()) & np.asarray(asked)).tolist()

    def _list_nameless(self, nameless: Sequence[int]) -> Iterator[pa.Table]:
        for batch in batched(nameless):
            yield make_nameless_batch(self.spec, self._table, [f"row {row + 1}" for row in batch])

    def _list_rows(self, rows: pa.Table, images: Sequence[Found]) -> Iterator[pa.Table]:
        asked = pc.is_valid(_stem(rows[_find_image_column(rows.column_names)]))
        if self._splits:
            asked = pc.and_(asked, pc.is_in(rows["split"], pa.array(self._splits)))
        images = [image for image, wanted in zip(images, asked.to_pylist(), strict=True) if wanted]
        if images:
            yield make_found_batch(self.spec, images, self._describe(rows.filter(asked)))

    def _describe(self, rows: pa.Table) -> dict[str, Any]:
        """Return what the rows say, as columns of a record."""
        known = {_RENAMED.get(name, name): _drop_placeholders(rows[name]) for name in rows.column_names}
        given = {rank: known.pop(rank) for rank in RANKS if rank in known}
        ranks = normalise_ranks(given, len(rows))
        some = pc.is_valid(lowest_rank(ranks))
        ranks["kingdom"] = pc.coalesce(ranks["kingdom"], pc.if_else(some, _KINGDOM, pa.scalar(None, pa.string())))
        group = known.get(self._group) if self._group else None
        named = {target: known.pop(name) for name, target in _DESCRIBED.items() if name in known}
        if group is not None:
            named["group_id"] = group
        return {**named, **ranks, "label": lowest_rank(ranks), "metadata": join_objects(known)}


def _find_image_column(names: Sequence[str]) -> str | None:
    return next((name for name in _IMAGE if name in names), None)


def _drop_placeholders(column: pa.ChunkedArray) -> pa.Array:
    return pc.if_else(pc.equal(column, _NO_NAME), None, column).combine_chunks()


def _stem(paths: pa.Array) -> pa.Array:
    """Return the file name of each path without its suffix."""
    return pc.struct_field(pc.extract_regex(paths, r"(?:^|[/:])(?P<name>[^/:]+?)(?:\.[A-Za-z0-9]+)?$"), "name")


def _expect_paths(rows: pa.Table) -> list[str]:
    """Return where the packages have the image of each row: PART/IMAGE_FILE, or SPLIT/CHUNK/PROCESSID.jpg."""
    blank = pa.nulls(len(rows), pa.string())
    columns = {name: rows[name].combine_chunks() if name in rows.column_names else blank for name in _PLACE}
    part = pc.binary_join_element_wise("part", columns["chunk_number"], "")
    name = pc.coalesce(columns["image_file"], pc.binary_join_element_wise(columns["processid"], "jpg", "."))
    place = (part, columns["split"], columns["chunk"], name)
    return list(pc.binary_join_element_wise(*place, "/", null_handling="skip").to_pylist())
