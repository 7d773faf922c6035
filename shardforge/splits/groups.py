"""Groups: records that must share a split: their bytes or pictures are the same, or a column says so.

A group is named `content:HASH` or `key:KEY`, or `COLUMN:VALUE` with a grouping column. Values that share an image are
connected; the smallest value of a connected set names the group, so that the name depends on no order.
"""

from __future__ import annotations

from shardforge.mapping import Mapping
from shardforge.mapping.ranks import known_sql, rank_name_sql
from shardforge.splits.request import NULL, SplitRequest

# With near duplicates grouped, the smallest content of a cluster stands for all of them, everywhere in the split.
_CLUSTER = (
    "coalesce((SELECT n.cluster FROM near_duplicates AS n WHERE n.content_hash = images.content_hash), content_hash)"
)


def group_records(mapping: Mapping, request: SplitRequest) -> int:
    """Find the groups of all usable records; return how many values of the grouping column took another's name."""
    column = request.group_by
    node = f"'{column}:' || {known_sql(column)}" if column else NULL
    label_class = known_sql(request.stratify) if request.stratify else "''"
    taxon = rank_name_sql(request.hold_out.rank) if request.hold_out else NULL
    statement = mapping.query("create_split_usable")
    content = _CLUSTER if request.group_near_duplicates else "content_hash"
    mapping.execute(statement.format(node=node, label_class=label_class, taxon=taxon, content=content))
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
