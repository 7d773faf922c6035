"""What a file is by its first bytes, where it is not what its name says."""

from __future__ import annotations

import re
from pathlib import Path

from shardforge.errors import SourceError

#: Bytes that tell.
HEAD_BYTES = 4_096

# What may be expected of a file.
TABLE = "a table in text"
LINES = "lines of text"
JSON_LINES = "lines of JSON"
JSON = "JSON"

_EXCEL = "save the sheet as CSV UTF-8 (comma delimited)"
#: First bytes -> what begins with them, and what to do; the first that matches counts.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive", "unpack it, and name the file in it"),
    (b"PK\x05\x06", "an empty zip archive", "name another file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (.xls)", _EXCEL),
    (b"\x1f\x8b", "compressed by gzip", "unpack it by gzip -d, or let the name of a table end in .gz"),
    (b"BZh", "compressed by bzip2", "unpack it by bzip2 -d, or let the name of a table end in .bz2"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", "unpack it by zstd -d, or let the name of a table end in .zst"),
    (b"\xfd7zXZ\x00", "compressed by xz", "unpack it by xz -d"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and name the file in it"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it, and name the file in it"),
    (b"PAR1", "a Parquet file", "let its name end in .parquet"),
    (b"ARROW1\x00\x00", "an Arrow file", "write it as Parquet"),
    (b"FEA1", "a Feather file", "write it as Parquet"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "write the table as CSV or Parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "write the table as CSV or Parquet"),
    (b"\x93NUMPY", "a numpy array", "write the table as CSV or Parquet"),
    (b"%PDF-", "a PDF", "name another file"),
    (b"\xff\xd8\xff", "a JPEG image", "name the file that lists the images"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", "name the file that lists the images"),
    (b"version https://git-lfs.github.com/", "a pointer of Git LFS in place of the file", "get it by git lfs pull"),
)
_ZIPPED = {
    b"[Content_Types].xml": ("an Excel workbook", _EXCEL),
    b"xl/": ("an Excel workbook", _EXCEL),
    b"opendocument.spreadsheet": ("a LibreOffice spreadsheet", "save the sheet as CSV in UTF-8"),
}
#: Byte-order marks, those of four bytes first, and text without one, told by its zeros.
_ENCODINGS = (
    ("utf-32", re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff")),
    ("utf-16", re.compile(rb"\xff\xfe|\xfe\xff")),
    ("utf-32le", re.compile(rb"(?:[\t\n\r -~]\0\0\0){3}")),
    ("utf-32be", re.compile(rb"(?:\0\0\0[\t\n\r -~]){3}")),
    ("utf-16le", re.compile(rb"(?:[\t\n\r -~]\0){6}")),
    ("utf-16be", re.compile(rb"(?:\0[\t\n\r -~]){6}")),
)
_HTML = re.compile(rb"\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml\b")
_JSON = re.compile(rb'\s*(?:\{\s*"|\[\s*[\[{"])')
_JSON_LIST = re.compile(rb"\s*\[\s*(?:[\[{\]]|$)")
_BOM = b"\xef\xbb\xbf"


def refuse_other_formats(place: Path | str, head: bytes, expected: str = TABLE) -> None:
    """Refuse a file that is not what is expected, `TABLE`, `LINES`, `JSON_LINES` or `JSON`, by its first bytes.

    Raises:
        SourceError: it is of another format, or text in another encoding; the message says which, and what to do.
    """
    found = _name_encoding(head) or _name_format(head) or _name_markup(head.removeprefix(_BOM), expected)
    if found:
        what, remedy = found
        raise SourceError(f"{place}: is {what}, not {expected}; {remedy}")


def name_other_format(head: bytes) -> str:
    """Return what a file that should be Parquet is by its first bytes: "a zip archive", "text", "of no known kind"."""
    found = _name_encoding(head) or _name_format(head) or _name_markup(head.removeprefix(_BOM), TABLE)
    if found:
        return found[0]
    return "of no known kind" if b"\0" in head else "text"


def _name_encoding(head: bytes) -> tuple[str, str] | None:
    code = next((code for code, pattern in _ENCODINGS if pattern.match(head)), None)
    if code is None:
        return None
    name = code.upper().removesuffix("LE").removesuffix("BE")
    return f"{name} text", f"convert it to UTF-8, for instance by iconv -f {code} -t utf-8"


def _name_format(head: bytes) -> tuple[str, str] | None:
    found = next(((what, remedy) for signature, what, remedy in _SIGNATURES if head.startswith(signature)), None)
    if found and head.startswith(b"PK\x03\x04"):
        return next((said for part, said in _ZIPPED.items() if part in head), found)
    return found


def _name_markup(head: bytes, expected: str) -> tuple[str, str] | None:
    if _HTML.match(head):
        return "a page of HTML, as a web server sends it in place of a file", "download the file again"
    if _XML.match(head):
        return "XML", "write the table as CSV or Parquet"
    if expected == JSON_LINES and _JSON_LIST.match(head):
        return "one JSON list", "write each of its objects in a line of its own, for instance by jq -c '.[]'"
    if expected in (TABLE, LINES) and _JSON.match(head):
        return "JSON", "let its name end in .jsonl where each line is an object, else write it so (jq -c '.[]')"
    return None
