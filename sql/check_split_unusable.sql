-- check_split_unusable.sql: assigned keys that must not be written: not mapped, not usable, or excluded. No rows: good.
SELECT name, key
FROM (
    SELECT r.name, i.key, 1 AS usable FROM split_runs AS r CROSS JOIN images AS i
    WHERE i.reason IS NULL AND i.key NOT IN (SELECT key FROM exclusions WHERE key IS NOT NULL)
    UNION ALL
    SELECT name, key, 0 FROM splits
) AS both_sides
GROUP BY name, key HAVING max(usable) = 0;
