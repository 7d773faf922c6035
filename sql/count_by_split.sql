-- count_by_split.sql: one row per split run and split: images, their share of the run in percent, classes and groups.
SELECT s.name, s.split, count(*) AS images,
       round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY s.name), 3) AS percent,
       count(DISTINCT coalesce(i.label, i.species)) AS classes, count(DISTINCT s.group_id) AS groups
FROM splits AS s JOIN images AS i ON i.key = s.key
GROUP BY s.name, s.split
ORDER BY s.name, images DESC;
