-- insert_outcomes.sql: give every record that was not in the plan its outcome, so that each image has exactly one.
-- $dataset: as in datasets.out; $name: the split run; $column: the label column, or NULL for a dataset without labels.
INSERT INTO outcomes (dataset, key, reason)
SELECT $dataset, i.key,
       CASE WHEN i.reason IS NOT NULL THEN i.reason
            WHEN x.key IS NOT NULL THEN 'excluded'
            WHEN s.key IS NULL THEN 'no_split'
            WHEN CAST($column AS VARCHAR) IS NOT NULL THEN 'no_label'
            ELSE 'other_split' END
FROM images AS i
LEFT JOIN (SELECT key FROM outcomes WHERE dataset = $dataset) AS o ON o.key = i.key
LEFT JOIN splits AS s ON s.key = i.key AND s.name = $name
LEFT JOIN (SELECT DISTINCT key FROM exclusions WHERE key IS NOT NULL) AS x ON x.key = i.key
WHERE o.key IS NULL
