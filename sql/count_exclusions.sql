-- count_exclusions.sql: one row per exclusion list and reason: the otherwise usable records that it keeps out.
SELECT x.list, x.reason, count(DISTINCT x.key) AS images
FROM exclusions AS x JOIN images AS i ON i.key = x.key
WHERE i.reason IS NULL
GROUP BY x.list, x.reason
ORDER BY x.list, x.reason;
