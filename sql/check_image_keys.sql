-- check_image_keys.sql: keys that stand in images more than once. No rows: good.
SELECT key, count(*) AS rows FROM images GROUP BY key HAVING count(*) > 1;
