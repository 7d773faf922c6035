-- list_duplicates.sql: one row is a content that several usable images share byte for byte; `labels` above 1 is a contradiction.
SELECT content_hash, count(*) AS copies, count(DISTINCT source) AS sources, count(DISTINCT label) AS labels,
       min(source || ':' || path) AS first_path, max(source || ':' || path) AS last_path
FROM images
WHERE reason IS NULL AND content_hash IS NOT NULL
GROUP BY content_hash
HAVING count(*) > 1
ORDER BY copies DESC, content_hash;
