-- select_exact_pairs.sql: every usable image whose bytes another one has too, beside the first of these by key; with
-- their splits of the run $name. CROSS JOIN: SQLite then takes the few contents first and looks images up.
WITH firsts AS (
    SELECT content_hash, min(key) AS key FROM images WHERE reason IS NULL AND content_hash IS NOT NULL
    GROUP BY content_hash HAVING count(*) > 1
), copies AS MATERIALIZED (
    SELECT key, content_hash, source, path, label, species FROM images
    WHERE reason IS NULL AND content_hash IN (SELECT content_hash FROM firsts)
), placed AS MATERIALIZED (
    SELECT key, split FROM splits WHERE name = $name
)
SELECT 'exact' AS kind, CAST(0 AS BIGINT) AS distance,
       a.key AS key, a.source || ':' || a.path AS image, coalesce(a.label, a.species) AS label, s.split AS split,
       b.key AS other_key, b.source || ':' || b.path AS other_image, coalesce(b.label, b.species) AS other_label,
       t.split AS other_split
FROM firsts AS f
CROSS JOIN images AS a
JOIN copies AS b ON b.content_hash = f.content_hash AND b.key <> f.key
LEFT JOIN placed AS s ON s.key = a.key
LEFT JOIN placed AS t ON t.key = b.key
WHERE a.key = f.key
ORDER BY a.key, b.key
