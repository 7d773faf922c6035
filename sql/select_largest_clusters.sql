-- select_largest_clusters.sql: the $most largest clusters of usable images with the same picture, exact and near
-- together.
WITH members AS (
    SELECT coalesce(n.cluster, i.content_hash) AS cluster, i.key, i.content_hash, i.source, i.path,
           coalesce(i.label, i.species) AS label
    FROM images AS i LEFT JOIN near_duplicates AS n ON n.content_hash = i.content_hash
    WHERE i.reason IS NULL AND i.content_hash IS NOT NULL
)
SELECT m.cluster, count(*) AS images, count(DISTINCT m.content_hash) AS contents, count(DISTINCT m.source) AS sources,
       count(DISTINCT m.label) AS labels, count(DISTINCT s.split) AS splits, min(m.source || ':' || m.path) AS first_path
FROM members AS m LEFT JOIN splits AS s ON s.key = m.key AND s.name = $name
GROUP BY m.cluster HAVING count(*) > 1
ORDER BY images DESC, m.cluster LIMIT $most
