"""A receipt: what is known of a finished shard, so that nothing has to be read twice to resume, index or repair it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardforge.dataset.layout import Layout
from shardforge.dataset.plan import PlannedShard
from shardforge.files import atomic_write


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
        with atomic_write(place, scratch=scratch) as file:
            file.write(json.dumps(vars(self), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def find_receipt(layout: Layout, shard: PlannedShard) -> Receipt | None:
    """Return the receipt of a finished shard, or None when the shard was not finished as it is planned now."""
    receipt = read_receipt(layout.receipt(shard.path))
    if receipt is None or (receipt.path, receipt.digest) != (shard.path, shard.digest):
        return None
    return receipt if receipt.samples + len(receipt.bad) == shard.samples else None


def read_receipt(place: Path) -> Receipt | None:
    """Return the receipt at `place`, or None when there is none that can be used."""
    try:
        receipt = Receipt(**json.loads(place.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return receipt if _is_whole(receipt) else None


def _is_whole(receipt: Receipt) -> bool:
    """Whether all values have the types that they should, and every member extension a value for each sample."""
    texts = (receipt.path, receipt.digest, receipt.sha256)
    counts = (receipt.bytes, receipt.samples, receipt.small)
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(count, int) for count in counts)
        and all(_is_table(table, list) for table in (receipt.sizes, receipt.crcs))
        and all(_is_table(table, str) for table in (receipt.bad, receipt.notes))
        and receipt.sizes.keys() == receipt.crcs.keys()
        and all(
            len(values) == receipt.samples and all(isinstance(value, int) for value in values)
            for values in (*receipt.sizes.values(), *receipt.crcs.values())
        )
    )


def _is_table(table: Any, kind: type) -> bool:
    return isinstance(table, dict) and all(isinstance(value, kind) for value in table.values())
