-- insert_matches.sql: fill matches with the metadata row of each listed image: the row whose value is the image's path, else
-- its file name, else its file name without the suffix.
INSERT INTO matches
SELECT named.position, COALESCE(by_path.value, by_name.value, by_stem.value)
FROM (
    SELECT position, path, name,
           -- what rtrim leaves ends in the last dot (below: in the last slash)
           CASE WHEN instr(name, '.') > 0 THEN substr(name, 1, length(rtrim(name, replace(name, '.', ''))) - 1)
                ELSE name END AS stem
    FROM (SELECT position, path, substr(path, length(rtrim(path, replace(path, '/', ''))) + 1) AS name FROM listed) AS split
) AS named
LEFT JOIN described AS by_path ON by_path.value = named.path
LEFT JOIN described AS by_name ON by_name.value = named.name
LEFT JOIN described AS by_stem ON by_stem.value = named.stem
WHERE COALESCE(by_path.value, by_name.value, by_stem.value) IS NOT NULL
