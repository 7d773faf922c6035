from __future__ import annotations
from shardforge.mapping.base import Mapping


def finish_load(mapping: Mapping) -> None:
    if mapping.engine == "sqlite":
        mapping.execute("CREATE UNIQUE INDEX IF NOT EXISTS images_key ON images (key)")
