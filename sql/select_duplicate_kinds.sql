-- select_duplicate_kinds.sql: one row per kind, exact (the same bytes) and near (pictures that look the same, of other
-- bytes): its clusters of usable images, the images in them, those beyond the first of each, and how many clusters have
-- several sources, labels (label, else species), or splits of the run $name.
WITH members AS (
    SELECT 'exact' AS kind, content_hash AS cluster, content_hash, source, coalesce(label, species) AS label, key
    FROM images
    WHERE reason IS NULL AND content_hash IN (
        SELECT content_hash FROM images WHERE reason IS NULL GROUP BY content_hash HAVING count(*) > 1
    )
    UNION ALL
    SELECT 'near', n.cluster, i.content_hash, i.source, coalesce(i.label, i.species), i.key
    FROM near_duplicates AS n JOIN images AS i ON i.content_hash = n.content_hash WHERE i.reason IS NULL
), clusters AS (
    SELECT m.kind, count(*) AS images,
           min(m.source) <> max(m.source) AS across_sources,
           coalesce(min(m.label) <> max(m.label), FALSE) AS across_labels,
           coalesce(min(s.split) <> max(s.split), FALSE) AS across_splits
    FROM members AS m LEFT JOIN splits AS s ON s.key = m.key AND s.name = $name
    GROUP BY m.kind, m.cluster
    HAVING count(*) > 1 AND (m.kind = 'exact' OR min(m.content_hash) <> max(m.content_hash))
)
SELECT kind, count(*) AS clusters, CAST(sum(images) AS BIGINT) AS images,
       CAST(sum(images) - count(*) AS BIGINT) AS extra_images,
       CAST(sum(CASE WHEN across_sources THEN 1 ELSE 0 END) AS BIGINT) AS across_sources,
       CAST(sum(CASE WHEN across_labels THEN 1 ELSE 0 END) AS BIGINT) AS across_labels,
       CAST(sum(CASE WHEN across_splits THEN 1 ELSE 0 END) AS BIGINT) AS across_splits
FROM clusters GROUP BY kind ORDER BY kind
