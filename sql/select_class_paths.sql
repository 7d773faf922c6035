-- select_class_paths.sql: the names at a rank with more than one path above them, one row per name and path.
SELECT DISTINCT name, kingdom, phylum, "class", "order", family, genus FROM class_paths
WHERE name IN (SELECT name FROM class_paths GROUP BY name HAVING count(*) > 1)
ORDER BY name
