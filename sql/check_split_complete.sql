-- check_split_complete.sql: usable records that are neither assigned in a run nor excluded. No rows: good; rows mean
-- that records were mapped after the split was made: run `shardforge split` again.
SELECT name, key
FROM (
    SELECT r.name, i.key, 0 AS assigned FROM split_runs AS r CROSS JOIN images AS i
    WHERE i.reason IS NULL AND i.key NOT IN (SELECT key FROM exclusions WHERE key IS NOT NULL)
    UNION ALL
    SELECT name, key, 1 FROM splits
) AS both_sides
GROUP BY name, key HAVING max(assigned) = 0;
