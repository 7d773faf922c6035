"""Annotation files of the iNaturalist competitions: COCO's lists, with a taxon in each category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge import reasons
from shardforge.errors import SourceError
from shardforge.records import RANKS
from shardforge.sources.columns import as_text
from shardforge.sources.json_columns import join_objects
from shardforge.sources.json_stream import iter_elements
from shardforge.sources.keyed import KeyedTable
from shardforge.sources.listing import BATCH_ROWS
from shardforge.sources.ranks import normalise_ranks

_IMAGES = pa.schema(
    {
        "id": pa.int64(),
        "file_name": pa.string(),
        "license": pa.int64(),
        "rights_holder": pa.dictionary(pa.int32(), pa.string()),
        "date": pa.string(),
        "latitude": pa.float64(),
        "longitude": pa.float64(),
        "location_uncertainty": pa.float64(),
    }
)
_ANNOTATIONS = pa.schema({"image_id": pa.int64(), "category_id": pa.int64()})
_CATEGORIES = pa.schema(
    {"id": pa.int64()} | dict.fromkeys(("name", "common_name", "supercategory", *RANKS[:-1]), pa.string())
)
_LICENSES = pa.schema({"id": pa.int64(), "name": pa.string(), "url": pa.string()})
_LISTS = {"images": _IMAGES, "annotations": _ANNOTATIONS, "categories": _CATEGORIES, "licenses": _LICENSES}


class Annotations:
    """What one annotation file says; about 200 bytes of memory for each image.

    Attributes:
        file: The file itself.
        images: A row for each image that has a file, in the order of the file.
        nameless: The places in the list 'images' of those that have none.

    Raises:
        SourceError: the file is of another format, or lists no image; an annotation says not of which image it is.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        lists = _read_lists(file)
        self._categories = _key_categories(lists["categories"])
        self._licenses = KeyedTable(lists["licenses"]["id"], lists["licenses"])
        pairs = lists["annotations"]
        self._category_of = KeyedTable(pairs["image_id"], pairs)
        named = lists["images"]["file_name"].is_valid()
        self.images = lists["images"].filter(named)
        self.nameless: list[int] = np.flatnonzero(~np.asarray(named)).tolist()
        if not len(self.images):
            raise SourceError(f"{file}: no entry of 'images' has a 'file_name'; expected an image with a file in each")
        if pairs["image_id"].null_count:
            raise SourceError(f"{file}: an entry of 'annotations' has no 'image_id'; say of which image it is")
        self._faults = self._find_faults(pairs)

    def describe(self, rows: pa.Table) -> dict[str, Any]:
        """Return what is known of these rows of `images`, as columns of a record."""
        ids = rows["id"].combine_chunks()
        category = self._categories.take(self._category_of.take(ids)["category_id"].combine_chunks())
        license = self._licenses.take(rows["license"].combine_chunks())
        known: dict[str, Any] = {name: category[name] for name in ("label", *RANKS, "common_name")}
        others = {
            "image_id": ids,
            "category_id": category["id"],
            "supercategory": category["supercategory"],
            "license_name": license["name"],
            **{name: rows[name] for name in ("date", "latitude", "longitude", "location_uncertainty")},
        }
        known |= {"license": _choose_license(license), "author": rows["rights_holder"]}
        faults, nobody = self._faults.take(ids), pa.scalar(None, pa.string())
        known["reason"] = pc.coalesce(faults["reason"], pc.if_else(ids.is_null(), reasons.NO_METADATA, nobody))
        known["note"] = pc.coalesce(faults["note"], pc.if_else(ids.is_null(), "its entry has no 'id'", nobody))
        return {**known, "metadata": join_objects(others)}

    def _find_faults(self, pairs: pa.Table) -> KeyedTable:
        """Return a reason and a note for each image that has several categories, or one that is not in the file."""
        distinct = pairs.group_by(["image_id", "category_id"]).aggregate([])
        counted = distinct.group_by("image_id").aggregate([("category_id", kind) for kind in ("count", "min", "max")])
        several = counted.filter(pc.greater(counted["category_id_count"], 1))
        known = self._categories.take(distinct["category_id"].combine_chunks())["id"]
        unknown = distinct.filter(pc.is_null(known))
        ends = [several[f"category_id_{end}"].cast(pa.string()) for end in ("min", "max")]
        number = unknown["category_id"].cast(pa.string()).fill_null("null")
        schema = pa.schema([("id", pa.int64()), ("reason", pa.string()), ("note", pa.string())])
        notes = (
            pc.binary_join_element_wise("has annotations of the categories", *ends, " "),
            pc.binary_join_element_wise("has category_id", number, "which is not in 'categories'", " "),
        )
        found = pa.concat_tables(
            pa.table([table["image_id"], pa.array([reason] * len(table), pa.string()), note], schema=schema)
            for table, reason, note in zip((several, unknown), (reasons.TWICE, reasons.BAD_SAMPLE), notes, strict=True)
        )
        return KeyedTable(found["id"], found.drop(["id"]))


def _read_lists(file: Path) -> dict[str, pa.Table]:
    """Return the four lists as tables; fields that are not in their schemas are left out."""
    pending: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    tables: defaultdict[str, list[pa.Table]] = defaultdict(list)
    for name, element in iter_elements(file):
        if name in _LISTS:
            pending[name].append(element)
            if len(pending[name]) == BATCH_ROWS:
                tables[name].append(_make_table(name, pending.pop(name)))
    for name, elements in pending.items():
        tables[name].append(_make_table(name, elements))
    if "images" not in tables:
        raise SourceError(
            f"{file}: no list 'images' with entries; expected an annotation file of an iNaturalist competition"
        )
    return {
        name: pa.concat_tables(tables[name]).unify_dictionaries() if tables[name] else schema.empty_table()
        for name, schema in _LISTS.items()
    }


def _make_table(name: str, elements: Sequence[Any]) -> pa.Table:
    """Return elements of a list as a table; what is no object, or of another type than its field, is null."""
    schema = _LISTS[name]
    entries = [element if isinstance(element, dict) else {} for element in elements]
    columns = []
    for field in schema:
        values = [entry.get(field.name) for entry in entries]
        try:
            columns.append(pa.array(values, field.type))
        except pa.ArrowException:
            columns.append(pa.array([_convert(value, field.type) for value in values], field.type))
    return pa.table(columns, schema=schema)


def _convert(value: Any, kind: pa.DataType) -> Any:
    """Return a value as one of an Arrow type, None where it is none."""
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        return as_text(value)
    try:
        return (pa.scalar(value, pa.string()) if isinstance(value, str) else pa.scalar(value)).cast(kind).as_py()
    except pa.ArrowException:
        return None


def _choose_license(license: pa.Table) -> pa.Array:
    """Return the link of each licence where it says which version of Creative Commons it is, else the name."""
    name, url = license["name"].combine_chunks(), license["url"].combine_chunks()
    exact = pc.match_substring(url, "creativecommons.org").fill_null(False)
    return pc.if_else(exact, url, pc.if_else(pc.equal(name, ""), None, name))


def _key_categories(categories: pa.Table) -> KeyedTable:
    """Return the categories by id: their name as the label, and the seven ranks."""
    columns = {rank: categories[rank].combine_chunks() for rank in RANKS[:-1]}
    names = categories["name"].combine_chunks()
    species = pc.if_else(pc.match_substring_regex(names, r"\pL"), names, None)  # in 2018 the names were numbers
    ranks = normalise_ranks({**columns, "species": species}, len(categories))
    kept = {name: categories[name] for name in ("id", "common_name", "supercategory")}
    empty = {name: pc.if_else(pc.equal(column, ""), None, column) for name, column in kept.items() if name != "id"}
    label = pc.coalesce(ranks["species"], names)
    return KeyedTable(categories["id"], pa.table({**kept, **empty, "label": label, **ranks}))
