-- select_excluded_taxa.sql: one row is a taxon of otherwise usable records and an exclusion list that keeps records of it
-- out. {taxon}: the name at a rank.
SELECT DISTINCT n.taxon, x.list
FROM exclusions AS x JOIN (SELECT key, reason, {taxon} AS taxon FROM images) AS n ON n.key = x.key
WHERE n.reason IS NULL AND n.taxon IS NOT NULL
ORDER BY n.taxon, x.list
