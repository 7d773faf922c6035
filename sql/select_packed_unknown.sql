-- select_packed_unknown.sql: one row per key that is in the shards and not in the mapping.
-- Reads the temporary table packed(key, split, shard, position). $dataset: as in datasets.out.
SELECT p.key FROM packed AS p LEFT JOIN images AS i ON i.key = p.key
WHERE i.key IS NULL AND $dataset IS NOT NULL ORDER BY p.key
