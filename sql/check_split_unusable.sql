-- check_split_unusable.sql: assigned keys that must not be written: not mapped, not usable, or excluded. No rows: good.
SELECT s.name, s.key, s.split, CASE WHEN i.key IS NULL THEN 'not_mapped' ELSE coalesce(i.reason, 'excluded') END AS reason
FROM splits AS s LEFT JOIN images AS i ON i.key = s.key
WHERE i.key IS NULL OR i.reason IS NOT NULL OR s.key IN (SELECT key FROM exclusions WHERE key IS NOT NULL);
