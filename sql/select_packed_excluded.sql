-- select_packed_excluded.sql: one row per key that is in the shards and on an exclusion list.
-- Reads the temporary table packed(key, split, shard, position). $dataset: as in datasets.out.
SELECT DISTINCT p.key FROM packed AS p JOIN exclusions AS x ON x.key = p.key
WHERE $dataset IS NOT NULL ORDER BY p.key
