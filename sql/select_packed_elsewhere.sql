-- select_packed_elsewhere.sql: one row per key that the mapping places in another split, shard or position, or not at all.
-- Reads the temporary table packed(key, split, shard, position). $dataset: as in datasets.out.
SELECT p.key FROM packed AS p LEFT JOIN samples AS s
    ON s.key = p.key AND s.dataset = $dataset AND s.split = p.split AND s.shard = p.shard AND s.position = p.position
WHERE s.key IS NULL ORDER BY p.key
