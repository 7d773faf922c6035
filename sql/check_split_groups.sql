-- check_split_groups.sql: groups that stand in two splits of a run. No rows: good.
SELECT name, group_id, min(split) AS split, max(split) AS other_split
FROM splits GROUP BY name, group_id HAVING min(split) <> max(split);
