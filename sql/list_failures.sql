-- list_failures.sql: one row is an image that failed, where (`map`, or the dataset that was to hold it) and why.
-- The codes are those of shardforge/reasons.py.
SELECT 'map' AS stage, reason, source, path, bytes, key
FROM images
WHERE reason IS NOT NULL
UNION ALL
SELECT o.dataset, o.reason, i.source, i.path, i.bytes, o.key
FROM outcomes AS o LEFT JOIN images AS i ON i.key = o.key
WHERE o.reason NOT IN ('ok', 'excluded', 'no_label', 'ambiguous_label', 'no_split', 'other_split') AND i.reason IS NULL
ORDER BY 1, 2, 3, 4;
