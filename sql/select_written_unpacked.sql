-- select_written_unpacked.sql: one row per key whose outcome is ok and that is in no shard.
-- Reads the temporary table packed(key, split, shard, position). $dataset: as in datasets.out.
SELECT o.key FROM outcomes AS o LEFT JOIN packed AS p ON p.key = o.key
WHERE o.dataset = $dataset AND o.reason = 'ok' AND p.key IS NULL ORDER BY o.key
