-- select_near_firsts.sql: for every content that has a near duplicate the first of its usable images by key, with its
-- split of the run $name, in the order of the contents.
WITH firsts AS (
    SELECT i.content_hash, min(i.key) AS key
    FROM near_duplicates AS n JOIN images AS i ON i.content_hash = n.content_hash
    WHERE i.reason IS NULL GROUP BY i.content_hash
), placed AS MATERIALIZED (
    SELECT key, split FROM splits WHERE name = $name
)
SELECT f.content_hash, i.key, i.source || ':' || i.path AS image, coalesce(i.label, i.species) AS label, s.split
FROM firsts AS f JOIN images AS i ON i.key = f.key
LEFT JOIN placed AS s ON s.key = i.key
ORDER BY f.content_hash
