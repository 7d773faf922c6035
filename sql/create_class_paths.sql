-- create_class_paths.sql: what stands above each name at a rank, over all usable records, with how many of them say so.
-- {name}: the name at the rank; {higher}: the ranks above it, the others NULL (see shardforge/mapping/ranks.py).
DROP TABLE IF EXISTS class_paths;

CREATE TEMP TABLE class_paths AS
SELECT {name} AS name, {higher}, count(*) AS images FROM images WHERE reason IS NULL AND {name} IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6, 7;
