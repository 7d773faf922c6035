"""Text with generated parts: what stands between two markers is made anew, the rest is a person's and stays.

In Markdown the markers of the part NAME are `<!-- shardforge:NAME -->` and `<!-- /shardforge:NAME -->`, in the YAML
front matter `# shardforge:NAME` and `# /shardforge:NAME`, each on a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from shardforge.errors import DatasetError

_MARKER = re.compile(r"^(?:<!-- (/?)shardforge:([\w-]+) -->[ \t\r]*|# (/?)shardforge:([\w-]+).*)$", re.MULTILINE)


def list_parts(text: str, where: str) -> list[str]:
    """Return the names of the generated parts in `text`, in order.

    Raises:
        DatasetError: a part is opened and not closed, closed and not opened, or opened in another.
    """
    return [name for name, _, _ in _find_parts(text, where)]


def fill_parts(text: str, parts: Mapping[str, str], where: str) -> str:
    """Return `text` with new content in those of its parts that `parts` has; the others stay as they are.

    Raises:
        DatasetError: as `list_parts`.
    """
    pieces = []
    done = 0
    for name, start, end in _find_parts(text, where):
        if name in parts:
            pieces += [text[done:start], f"\n{parts[name].strip()}\n"]
            done = end
    return "".join([*pieces, text[done:]])


def _find_parts(text: str, where: str) -> list[tuple[str, int, int]]:
    """Return name, start and end of the content of each part."""
    found: list[tuple[str, int, int]] = []
    opened: tuple[str, int] | None = None
    for marker in _MARKER.finditer(text):
        closing = bool(marker[1] or marker[3])
        name = marker[2] or marker[4]
        line = text.count("\n", 0, marker.start()) + 1
        if opened is not None and not closing:
            raise DatasetError(
                f"{where}: line {line}: the marker {marker[0]} stands inside the part {opened[0]}, which is made anew; "
                "move it out of that part, or close that part before it"
            )
        if closing and (opened is None or opened[0] != name):
            raise DatasetError(
                f"{where}: line {line}: the marker {marker[0]} has no partner; put each part between "
                f"<!-- shardforge:{name} --> and <!-- /shardforge:{name} -->"
            )
        if opened is None:
            opened = (name, marker.end())
        else:
            found.append((name, opened[1], marker.start()))
            opened = None
    if opened is not None:
        name = opened[0]
        raise DatasetError(f"{where}: the part {name} is not closed; add <!-- /shardforge:{name} --> after it")
    return found
