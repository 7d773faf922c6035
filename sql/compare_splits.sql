-- compare_splits.sql: one row per (split before, split now) of the records that are assigned now; NULL before: new.
-- $name: the split run that is about to be replaced.
SELECT o.split, a.split, count(*) AS images,
       count(CASE WHEN o.group_id <> a.group_id THEN 1 END) AS regrouped,
       count(CASE WHEN o.subset IS DISTINCT FROM a.subset THEN 1 END) AS subset_changed
FROM assigned AS a
LEFT JOIN (SELECT key, split, subset, group_id FROM splits WHERE name = $name) AS o ON o.key = a.key
GROUP BY 1, 2
ORDER BY 1, 2
