-- list_notes.sql: one row is a note on an image that can be used: what is odd about it, in words, and where it was found
-- (`map`, or the dataset that holds it). What is said of images that cannot be used: list_failures.sql.
SELECT coalesce(n.dataset, 'map') AS stage, i.source, i.path, n.note, n.key
FROM notes AS n
JOIN images AS i ON i.key = n.key
LEFT JOIN outcomes AS o ON o.key = n.key AND o.dataset = n.dataset
WHERE i.reason IS NULL AND (n.dataset IS NULL OR o.reason = 'ok')
ORDER BY 1, 2, 3, 4;
