-- select_catalog_splits.sql: one row is a split of a dataset, with its samples and how many classes and sources they are of.
-- Reads the view catalog of create_catalog_views.sql.
SELECT split, count(*) AS samples, count(DISTINCT class_index) AS classes, count(DISTINCT source) AS sources
FROM catalog
GROUP BY split
ORDER BY min(file_row_number);
