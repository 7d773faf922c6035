"""A receipt: what is known of a finished shard, so that nothing has to be read twice to resume, index or repair it.

It is one JSON object with the fields of `Receipt`, and ends with the SHA-256 of what stands before. That and fields
that 0.1.0 did not have are kept among the notes: 0.1.0 takes a receipt with a field that it does not know for none and
would write the shard again, but lets notes be. What 0.1.0 wrote has no checksum; it is told by the spaces after its
commas and colons, which are gone since: a receipt that merely lost its checksum is none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from shardforge.dataset.defaults import default_of
from shardforge.dataset.layout import Layout, is_shard_path
from shardforge.dataset.plan import PlannedShard
from shardforge.dataset.tarwriter import END, MISSING
from shardforge.files import atomic_write, read_regular
from shardforge.tarfiles import BLOCK

#: Among the notes, whose other keys are those of images.
_CHECKSUM = "receipt:sha256"
_LATER = "receipt:later"
_END = b'"}}'
_DIGITS = 64
#: Larger files are no receipts: one of a million samples with five members each takes 100 MB.
_MOST_BYTES = 1 << 28
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Receipt:
    """One finished shard.

    `digest` is that of its plan; `small` counts images that stayed smaller than the size asked for; `bad` maps the keys
    that could not be written to their reason codes, `notes` say in words what was wrong with them; `sizes` and `crcs`
    hold, for each member extension, the bytes and the CRC-32 of that member of each written sample, in order.
    """

    path: str
    digest: str
    sha256: str
    bytes: int
    samples: int
    small: int
    sizes: dict[str, list[int]]
    crcs: dict[str, list[int]]
    bad: dict[str, str]
    notes: dict[str, str]

    def write(self, place: Path, scratch: Path) -> None:
        """Write the receipt to `place`, atomically; `scratch` is the folder of temporary files."""
        first = {name: value for name, value in vars(self).items() if name in _CHECKS}
        later = {field.name: getattr(self, field.name) for field in fields(self) if not _is_default(self, field)}
        notes = self.notes | ({_LATER: _encode(later)} if later else {}) | {_CHECKSUM: ""}
        body = _encode(first | {"notes": notes}).encode("utf-8", "surrogatepass").removesuffix(_END)
        with atomic_write(place, scratch=scratch) as file:
            file.write(body + hashlib.sha256(body).hexdigest().encode() + _END)


def find_receipt(layout: Layout, shard: PlannedShard) -> Receipt | None:
    """Return the receipt of a finished shard, or None when the shard was not finished as it is planned now."""
    receipt = read_receipt(layout.receipt(shard.path))
    if receipt is None or (receipt.path, receipt.digest) != (shard.path, shard.digest):
        return None
    return receipt if receipt.samples + len(receipt.bad) == shard.samples else None


def read_receipt(place: Path) -> Receipt | None:
    """Return the receipt at `place`, or None when there is none that can be used."""
    try:
        if not place.is_file() or place.stat().st_size > _MOST_BYTES:
            return None
        data = read_regular(place)
        receipt = _parse(data, json.loads(data, parse_constant=_refuse))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, MemoryError):
        return None
    whole = receipt is not None and _is_whole(receipt) and place.name == f"{Path(receipt.path).name}.json"
    return receipt if whole else None


def _parse(data: bytes, content: dict[str, Any]) -> Receipt | None:
    """Return what a file holds where its checksum is right, or its form that of a time without any."""
    notes = dict(content["notes"])
    checksum = notes.pop(_CHECKSUM, None)
    if checksum is None:
        written = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return Receipt(**content) if written == data else None
    digits = len(data) - len(_END) - _DIGITS
    if data[digits:] != hashlib.sha256(data[:digits]).hexdigest().encode() + _END:
        return None
    known = {field.name for field in fields(Receipt)}
    later = json.loads(notes.pop(_LATER, "{}"), parse_constant=_refuse)
    return Receipt(**content | {"notes": notes} | {name: value for name, value in later.items() if name in known})


def _is_default(receipt: Receipt, field: Field[Any]) -> bool:
    """Tell whether a field need not be written among the later ones: it is one of the first, or at its default."""
    return field.name in _CHECKS or getattr(receipt, field.name) == default_of(field)


def _encode(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and is_shard_path(value)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _are_sizes(value: Any) -> bool:
    return _are_columns(value, range(MISSING, 1 << 63))


def _are_crcs(value: Any) -> bool:
    return _are_columns(value, range(1 << 32))


def _are_columns(value: Any, numbers: range) -> bool:
    """Tell whether a value is a dict of lists of these numbers; a receipt has many of them."""
    return isinstance(value, dict) and all(
        isinstance(column, list) and _are_in(column, numbers) for column in value.values()
    )


def _are_in(column: list[Any], numbers: range) -> bool:
    return set(map(type, column)) <= {int} and all(
        end in numbers for end in (min(column, default=0), max(column, default=0))
    )


#: What each field of the first form is.
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "path": _is_path,
    "digest": _is_digest,
    "sha256": _is_digest,
    "bytes": _is_count,
    "samples": _is_count,
    "small": _is_count,
    "sizes": _are_sizes,
    "crcs": _are_crcs,
    "bad": _are_texts,
    "notes": _are_texts,
}


def _is_whole(receipt: Receipt) -> bool:
    """Whether all values are what they should, each extension has one a sample, and the members make up the shard."""
    if not all(check(getattr(receipt, name)) for name, check in _CHECKS.items()):
        return False
    columns = (*receipt.sizes.values(), *receipt.crcs.values())
    return (
        receipt.small <= receipt.samples
        and receipt.sizes.keys() == receipt.crcs.keys()
        and all(len(values) == receipt.samples for values in columns)
        and _add_up(receipt.sizes.values()) == receipt.bytes
    )


def _add_up(columns: Collection[list[int]]) -> int:
    """Return the bytes of a shard whose members have these sizes."""
    blocks = sum(-(-size // BLOCK) for sizes in columns for size in sizes)  # one that is missing has none
    headers = sum(len(sizes) - sizes.count(MISSING) for sizes in columns)
    return BLOCK * (blocks + headers) + len(END)
