-- count_by_source.sql: one row is a source, with what it holds and what of it is usable.
SELECT s.name AS source, s.kind, s.root, s.scanned_at,
       count(i.key) AS images,
       count(CASE WHEN i.key IS NOT NULL AND i.reason IS NULL THEN 1 END) AS usable,
       count(DISTINCT nullif(i.label, '')) AS labels,
       count(i.license) AS with_license,
       CAST(sum(i.bytes) AS BIGINT) AS bytes
FROM sources AS s LEFT JOIN images AS i ON i.source = s.name
GROUP BY s.name, s.kind, s.root, s.scanned_at
ORDER BY s.name;
