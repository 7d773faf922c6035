"""Groups: records that must share a split, because their bytes are the same or a column says so.

A group is named `content:HASH` or `key:KEY`, or `COLUMN:VALUE` with a grouping column. Values that share an image are
connected; the smallest value of a connected set names the group, so that the name depends on no order.
"""

from __future__ import annotations

from shardforge.mapping import Mapping
from shardforge.splits.request import NULL, SplitRequest


def group_records(mapping: Mapping, request: SplitRequest) -> int:
    """Find the groups of all usable records; return how many values of the grouping column took another's name."""
    column = request.group_by
    node = f"'{column}:' || nullif(\"{column}\", '')" if column else NULL
    label_class = f'"{request.stratify}"' if request.stratify else "''"
    mapping.execute(mapping.query("create_split_usable").format(node=node, label_class=label_class))
    return _merge_nodes(mapping) if column else 0


def _merge_nodes(mapping: Mapping) -> int:
    """Spread the smallest name over connected nodes until nothing changes."""
    mapping.execute(mapping.query("link_groups"))
    while True:
        mapping.execute(mapping.query("spread_group_names"))
        [(changed,)] = mapping.rows(
            "SELECT count(*) FROM spread AS s JOIN merged AS m ON m.node = s.node WHERE s.name IS DISTINCT FROM m.name"
        )
        mapping.execute("DELETE FROM merged; INSERT INTO merged SELECT node, name FROM spread;")
        if not changed:
            break
    mapping.execute("DELETE FROM merged WHERE name = node")
    [(values,)] = mapping.rows("SELECT count(*) FROM merged WHERE node NOT LIKE 'content:%'")
    return int(values)
