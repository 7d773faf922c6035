-- check_split_groups.sql: groups that stand in two splits of a run. No rows: good. Groups without a name are contents:
-- check_split_contents.sql looks at those.
SELECT name, group_id, min(split) AS split, max(split) AS other_split
FROM splits WHERE group_id IS NOT NULL GROUP BY name, group_id HAVING min(split) <> max(split);
