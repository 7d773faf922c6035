-- check_split_contents.sql: contents (identical bytes) that stand in two splits of a run. No rows: good.
SELECT s.name, i.content_hash, min(s.split) AS split, max(s.split) AS other_split
FROM splits AS s JOIN images AS i ON i.key = s.key
WHERE i.content_hash IS NOT NULL
GROUP BY s.name, i.content_hash HAVING min(s.split) <> max(s.split);
