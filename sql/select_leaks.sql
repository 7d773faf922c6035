-- select_leaks.sql: the usable images of the contents in the temporary table leaking(content_hash, kind, distance, number),
-- with their split of the run $name; `excluded` is 1 when an exclusion list keeps the image out already.
WITH placed AS MATERIALIZED (
    SELECT key, split FROM splits WHERE name = $name
)
SELECT l.kind, l.distance, l.number, i.key, i.source || ':' || i.path AS image, coalesce(i.label, i.species) AS label,
       s.split, CASE WHEN i.key IN (SELECT key FROM exclusions WHERE key IS NOT NULL) THEN 1 ELSE 0 END AS excluded
FROM leaking AS l JOIN images AS i ON i.content_hash = l.content_hash
LEFT JOIN placed AS s ON s.key = i.key
WHERE i.reason IS NULL
ORDER BY l.distance, l.kind, i.key
