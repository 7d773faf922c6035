"""`croissant.json`: the shards with their checksums and the columns of the catalog, for tools that read Croissant 1.0.

The format: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from shardforge.catalog.catalog import SCHEMA
from shardforge.dataset.layout import Layout
from shardforge.dataset.manifest import Manifest
from shardforge.files import sha256_file

#: The words of Croissant that are not those of schema.org. Readers compare the context with the standard one, so words
#: that are not used here stand in it, too.
_WORDS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{name: {"@id": f"cr:{name}", "@type": "@json"} for name in ("data", "examples")},
    **{name: f"cr:{name}" for name in _WORDS},
}
_CATALOG = "catalog"


def make_croissant(layout: Layout, manifest: Manifest, *, description: str, licences: list[str]) -> bytes:
    """Return the content of `croissant.json`; `licences` are URLs. The catalog must be there."""
    shards = [
        _describe_file(shard.path, Path(shard.path).name, "application/x-tar", shard.bytes, shard.sha256)
        for shard in manifest.shards
    ]
    size, digest = layout.catalog.stat().st_size, sha256_file(layout.catalog)
    catalog = _describe_file(layout.catalog.name, layout.catalog.name, "application/x-parquet", size, digest)
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest.content["name"],
        "description": description,
        **({"license": licences} if licences else {}),
        "distribution": [catalog, *shards],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": _CATALOG,
                "name": _CATALOG,
                "description": "One record is a sample: its place in the shards and what is known of its image.",
                "field": [_describe_column(layout.catalog.name, column) for column in SCHEMA],
            }
        ],
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n"


def _describe_file(path: str, name: str, kind: str, size: int | None, sha256: str | None) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": name,
        "contentUrl": path,
        "encodingFormat": kind,
        "contentSize": f"{size} B",
        "sha256": sha256,
    }


def _describe_column(file: str, column: pa.Field) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{_CATALOG}/{column.name}",
        "name": column.name,
        "dataType": "sc:Integer" if pa.types.is_integer(column.type) else "sc:Text",
        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
    }
