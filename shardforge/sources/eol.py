"""Kind `eol`: images of the Encyclopedia of Life, whose file names are content id and page id."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from shardforge import reasons
from shardforge.paths import path_to_text
from shardforge.records import DESCRIPTIVE
from shardforge.sources.archives import find_files, locate_tree
from shardforge.sources.base import SourceSpec, find_option_files
from shardforge.sources.eol_media import read_media
from shardforge.sources.eol_pages import read_pages
from shardforge.sources.json_columns import join_objects
from shardforge.sources.listing import batched, make_found_batch

#: `12784812_51655800_eol-full-size-copy.jpg`, below any folders or inside an archive.
_NAME = r"(?:^|[/:])(?P<content>\d{1,18})_(?P<page>\d{1,18})_eol[^/:]*$"


class EolSource:
    """Files `CONTENTID_PAGEID_eol….jpg` at any depth, plain or in tars and zips.

    What page a number stands for is said by tables of EOL, and under which licence its image may be used by others.
    """

    options: ClassVar[Mapping[str, str]] = {
        "names": "tables of pages by comma, named from the root, the strongest first, such as "
        "taxon.tab,provider_ids.csv (default: none, taxa are not known)",
        "licenses": "tables of media by comma, named from the root, such as media_manifest_*.csv or licenses.csv "
        "(default: none)",
    }
    locate = staticmethod(locate_tree)

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self._names = find_option_files(spec, "names")
        self._licenses = find_option_files(spec, "licenses")

    def list(self) -> Iterator[pa.Table]:
        """Yield the files in the order of the walk; those of another name have a reason."""
        pages = read_pages(self._names)
        media = read_media(self._licenses)
        own = {path_to_text(os.path.relpath(file, self.spec.root)) for file in (*self._names, *self._licenses)}
        for batch in batched(file for file in find_files(self.spec) if file.path not in own):
            content, page = _parse_names([file.path for file in batch])
            columns = _describe(content, page, pages.take(page), media.take(content))
            yield make_found_batch(self.spec, batch, columns)


def _parse_names(paths: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """Return content id and page id of each file, null where its name has another form."""
    parts = pc.extract_regex(pa.array(paths, pa.string()), _NAME)
    content, page = (pc.struct_field(parts, name).cast(pa.int64()) for name in ("content", "page"))
    return content, page


def _describe(content: pa.Array, page: pa.Array, taxa: pa.Table, media: pa.Table) -> dict[str, Any]:
    """Return the columns of records for images, their taxa and what the media tables say about them.

    Images of one content id are the same photo on several pages, and thus one group.
    """
    others = {"eol_content_id": content, "eol_page_id": page}
    others |= {name: media[name] for name in media.column_names if name not in DESCRIPTIVE}
    return {
        **{name: taxa[name] for name in taxa.column_names},
        **{name: media[name] for name in media.column_names if name in DESCRIPTIVE},
        "group_id": pc.binary_join_element_wise("eol", content.cast(pa.string()), ":"),
        "metadata": join_objects(others),
        "reason": pc.if_else(pc.is_null(content), reasons.MISNAMED, pa.scalar(None, pa.string())),
    }
