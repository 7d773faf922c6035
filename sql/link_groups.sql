-- link_groups.sql: the nodes of --group-by that records with the same content tie together, one row per node and
-- content; and the name from which each node starts. A 'content:' node (a record without a value in the column) starts
-- without a name: it takes its neighbours', so that a group is named by its smallest value.
CREATE TEMP TABLE links AS
SELECT DISTINCT node, content_hash
FROM usable
WHERE content_hash IN (
    SELECT content_hash FROM usable WHERE content_hash IN (SELECT content_hash FROM shared)
    GROUP BY content_hash HAVING min(node) <> max(node)
);

INSERT INTO merged
SELECT DISTINCT node, CASE WHEN node <> 'content:' || content_hash THEN node END FROM links;
