"""A receipt: what is known of a finished shard, so that nothing has to be read twice to resume, index or repair it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

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
            file.write(json.dumps(asdict(self), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def read_receipt(place: Path) -> Receipt | None:
    """Return the receipt at `place`, or None when there is none that can be used."""
    try:
        return Receipt(**json.loads(place.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
