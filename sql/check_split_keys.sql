-- check_split_keys.sql: keys that a split run holds more than once. No rows: good.
SELECT name, key, count(*) AS rows FROM splits GROUP BY name, key HAVING count(*) > 1;
