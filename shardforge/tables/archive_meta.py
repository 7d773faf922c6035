"""What the `meta.xml` of a Darwin Core archive says about how its tables are written.

The attributes are those of the Darwin Core text guide (https://dwc.tdwg.org/text/): `fieldsTerminatedBy` and
`fieldsEnclosedBy` of a `core` or an `extension`, for each file in its `location`s. What they leave out is not declared
here; the suffix of the file says it then.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from shardforge.errors import SourceError, shorten
from shardforge.tables.dialect import DELIMITERS, Dialect

META_NAME = "meta.xml"

#: No such file is larger.
MOST_BYTES = 1 << 20
_TAB = r"\t"

#: Name of a table -> how it is written.
Declared = dict[str, Dialect]


def read_meta(content: bytes, place: Path | str) -> Declared:
    """Return how the tables are written that a `meta.xml` names.

    Raises:
        SourceError: it is no XML, or has cells enclosed by, or separated by, something that is not read here.
    """
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise SourceError(f"{place}: not XML ({shorten(error)}); mend it, or take it away") from error
    declared: dict[str, Dialect | None] = {}
    for table in root:
        for location in table.iter():
            if location.tag.rpartition("}")[2] == "location" and location.text:
                name = PurePosixPath(location.text.strip()).name
                declared[name] = _read_dialect(table, name, place)
    return {name: dialect for name, dialect in declared.items() if dialect}


def read_meta_beside(file: Path) -> Dialect | None:
    """Return how a table is written where a `meta.xml` in its folder names it.

    Raises:
        SourceError: as `read_meta`.
    """
    meta = file.parent / META_NAME
    if not meta.is_file() or meta.stat().st_size > MOST_BYTES:
        return None
    content = meta.read_bytes()
    return read_meta(content, meta).get(file.name) if file.name.encode() in content else None


def _read_dialect(table: ElementTree.Element, name: str, place: Path | str) -> Dialect | None:
    if not table.attrib.keys() & {"fieldsTerminatedBy", "fieldsEnclosedBy"}:
        return None
    suffix = PurePosixPath(name).suffix.lower()
    delimiter = table.get("fieldsTerminatedBy", DELIMITERS.get(suffix, ",")).replace(_TAB, "\t")
    quote = table.get("fieldsEnclosedBy", '"' if suffix == ".csv" else "")
    if quote not in ("", '"') or len(delimiter) != 1 or not delimiter.isascii():
        raise SourceError(
            f"{place}: the cells of {shorten(name)} are enclosed by '{shorten(quote)}' and separated by "
            f"'{shorten(delimiter)}'; expected '\"' or nothing, and one ASCII character: write the table so"
        )
    return Dialect(delimiter, quoted=bool(quote))
