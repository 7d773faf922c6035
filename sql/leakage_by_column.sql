-- leakage_by_column.sql: what train shares with the other splits of each run: one row per column with the number of
-- values that stand on both sides, and the records outside train that have such a value. content_hash must not be here;
-- group_id must not either when the split was made with --group-by group_id. url and author are for you to judge.
WITH valued AS (
    SELECT s.name, s.split, 'content_hash' AS "column", i.content_hash AS value
    FROM splits AS s JOIN images AS i ON i.key = s.key
    UNION ALL SELECT s.name, s.split, 'group_id', i.group_id FROM splits AS s JOIN images AS i ON i.key = s.key
    UNION ALL SELECT s.name, s.split, 'url', i.url FROM splits AS s JOIN images AS i ON i.key = s.key
    UNION ALL SELECT s.name, s.split, 'author', i.author FROM splits AS s JOIN images AS i ON i.key = s.key
), counted AS (
    SELECT name, "column", value, count(CASE WHEN split <> 'train' THEN 1 END) AS held_out
    FROM valued WHERE value IS NOT NULL
    GROUP BY name, "column", value HAVING min(split) <> max(split) AND max(split = 'train')
)
SELECT name, "column", count(*) AS shared_values, CAST(sum(held_out) AS BIGINT) AS held_out_images
FROM counted GROUP BY name, "column" ORDER BY name, "column";
