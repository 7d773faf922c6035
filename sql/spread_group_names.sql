-- spread_group_names.sql: one round of naming: each node takes the smallest name among the nodes that share a content
-- with it, then the name that this name's own node has just taken, so that long chains need few rounds.
DROP TABLE IF EXISTS spread;

CREATE TEMP TABLE spread AS
WITH by_content AS (
    SELECT l.content_hash, min(m.name) AS name
    FROM links AS l JOIN merged AS m ON m.node = l.node GROUP BY l.content_hash
), by_node AS (
    SELECT l.node, min(c.name) AS name
    FROM links AS l JOIN by_content AS c ON c.content_hash = l.content_hash GROUP BY l.node
)
SELECT n.node, coalesce(further.name, n.name) AS name
FROM by_node AS n LEFT JOIN by_node AS further ON further.node = n.name;
