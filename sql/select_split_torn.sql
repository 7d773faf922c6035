-- select_split_torn.sql: contents that would stand in two splits of the run that is being made. No rows: good. The same
-- as sql/check_split_contents.sql for one run, before it is stored.
SELECT shared_content FROM assigned WHERE shared_content IS NOT NULL
GROUP BY shared_content HAVING min(split) <> max(split)
