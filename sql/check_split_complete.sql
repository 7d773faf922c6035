-- check_split_complete.sql: usable records that are neither assigned in a run nor excluded. No rows: good; rows mean
-- that records were mapped after the split was made: run `shardforge split` again.
SELECT r.name, i.key, i.source, i.path
FROM split_runs AS r CROSS JOIN images AS i
LEFT JOIN splits AS s ON s.key = i.key AND s.name = r.name
WHERE i.reason IS NULL AND s.key IS NULL AND i.key NOT IN (SELECT key FROM exclusions WHERE key IS NOT NULL);
