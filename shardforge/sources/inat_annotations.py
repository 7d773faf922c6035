"""Annotation files of the iNaturalist competitions: COCO's lists, with a taxon in each category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import SourceError
from shardforge.records import RANKS
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
        images: A row for each image, in the order of the file.
    """

    def __init__(self, file: Path) -> None:
        lists = _read_lists(file)
        self._categories = _key_categories(lists["categories"])
        self._licenses = KeyedTable(lists["licenses"]["id"], lists["licenses"])
        pairs = lists["annotations"]
        self._category_of = KeyedTable(pairs["image_id"], pairs)
        self.images = lists["images"]
        self._check(file, pairs)

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
        return {**known, "metadata": join_objects(others)}

    def _check(self, file: Path, pairs: pa.Table) -> None:
        """Refuse a file that contradicts itself."""
        if self.images["file_name"].null_count or self.images["id"].null_count:
            raise SourceError(f"{file}: an entry of 'images' has no 'id' or no 'file_name'; give each image both")
        distinct = pairs.group_by(["image_id", "category_id"]).aggregate([])
        if len(distinct) != len(self._category_of):
            raise SourceError(f"{file}: an image has annotations of two categories; keep one for each image")
        named = self._categories.take(distinct["category_id"].combine_chunks())["id"]
        if named.null_count:
            number = distinct["category_id"].filter(pc.is_null(named))[0]
            raise SourceError(f"{file}: an annotation has category_id {number}, which is not in 'categories'")


def _read_lists(file: Path) -> dict[str, pa.Table]:
    """Return the four lists as tables; fields that are not in their schemas are left out."""
    pending: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    tables: defaultdict[str, list[pa.Table]] = defaultdict(list)
    for name, element in iter_elements(file):
        if name in _LISTS:
            pending[name].append(element)
            if len(pending[name]) == BATCH_ROWS:
                tables[name].append(_make_table(file, name, pending.pop(name)))
    for name, elements in pending.items():
        tables[name].append(_make_table(file, name, elements))
    if "images" not in tables:
        raise SourceError(f"{file}: no list 'images'; expected an annotation file of an iNaturalist competition")
    return {
        name: pa.concat_tables(tables[name]).unify_dictionaries() if tables[name] else schema.empty_table()
        for name, schema in _LISTS.items()
    }


def _make_table(file: Path, name: str, elements: Sequence[dict[str, Any]]) -> pa.Table:
    schema = _LISTS[name]
    try:
        return pa.table({field: [element.get(field) for element in elements] for field in schema.names}, schema)
    except (pa.ArrowException, AttributeError) as error:
        raise SourceError(f"{file}: an entry of {name!r} is not as expected: {error}") from error


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
