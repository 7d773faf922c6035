-- list_failures.sql: one row is an image that failed, where (`map`, or the dataset that was to hold it), why, and in words.
-- The codes are those of shardforge/reasons.py.
SELECT 'map' AS stage, i.reason, i.source, i.path, i.bytes, i.key, n.note
FROM images AS i LEFT JOIN notes AS n ON n.key = i.key AND n.dataset IS NULL
WHERE i.reason IS NOT NULL
UNION ALL
SELECT o.dataset, o.reason, i.source, i.path, i.bytes, o.key, n.note
FROM outcomes AS o
LEFT JOIN images AS i ON i.key = o.key
LEFT JOIN notes AS n ON n.key = o.key AND n.dataset = o.dataset
WHERE o.reason NOT IN ('ok', 'excluded', 'no_label', 'ambiguous_label', 'no_split', 'other_split') AND i.reason IS NULL
ORDER BY 1, 2, 3, 4;
