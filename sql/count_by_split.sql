-- count_by_split.sql: one row per split run and split: images, their share of the run in percent, classes and groups.
WITH counted AS (
    SELECT name, split, CAST(sum(images) AS BIGINT) AS images, count(*) AS groups
    FROM (
        SELECT s.name, s.split, coalesce(s.group_id, i.content_hash, s.key) AS group_name, count(*) AS images
        FROM splits AS s LEFT JOIN images AS i ON i.key = s.key
        GROUP BY 1, 2, 3
    ) AS grouped
    GROUP BY name, split
),
classed AS (
    SELECT name, split, count(class) AS classes
    FROM (
        SELECT DISTINCT s.name, s.split, coalesce(i.label, i.species) AS class
        FROM splits AS s JOIN images AS i ON i.key = s.key
    ) AS found
    GROUP BY name, split
)
SELECT c.name, c.split, c.images,
       round(100.0 * c.images / CAST(sum(c.images) OVER (PARTITION BY c.name) AS BIGINT), 3) AS percent,
       f.classes, c.groups
FROM counted AS c JOIN classed AS f ON f.name = c.name AND f.split = c.split
ORDER BY c.name, c.images DESC;
