-- insert_outcomes.sql: give every record that was not in the plan its outcome, so that each image has exactly one.
-- Reads the temporary table planned(split, key, class_name, reason), which also holds the records without a class.
-- $dataset: as in datasets.out; $name: the split run.
INSERT INTO outcomes (dataset, key, reason)
SELECT $dataset, i.key,
       CASE WHEN i.reason IS NOT NULL THEN i.reason
            WHEN x.key IS NOT NULL THEN 'excluded'
            WHEN s.key IS NULL THEN 'no_split'
            WHEN p.key IS NOT NULL THEN p.reason
            ELSE 'other_split' END
FROM images AS i
LEFT JOIN (SELECT key FROM outcomes WHERE dataset = $dataset) AS o ON o.key = i.key
LEFT JOIN (SELECT key FROM splits WHERE name = $name) AS s ON s.key = i.key
LEFT JOIN (SELECT DISTINCT key FROM exclusions WHERE key IS NOT NULL) AS x ON x.key = i.key
LEFT JOIN (SELECT DISTINCT key, reason FROM planned WHERE reason IS NOT NULL) AS p ON p.key = i.key
WHERE o.key IS NULL
