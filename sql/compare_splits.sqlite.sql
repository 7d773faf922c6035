-- compare_splits.sqlite.sql: as compare_splits.sql. SQLite joins ten million rows by as many look-ups in a temporary
-- index, which takes minutes; sorting both sides by key takes a minute.
SELECT before, now, count(*) AS images,
       count(CASE WHEN old_group <> new_group THEN 1 END) AS regrouped,
       count(CASE WHEN old_subset IS DISTINCT FROM new_subset THEN 1 END) AS subset_changed
FROM (
    SELECT max(before) AS before, max(now) AS now, max(old_group) AS old_group, max(new_group) AS new_group,
           max(old_subset) AS old_subset, max(new_subset) AS new_subset
    FROM (
        SELECT key, split AS before, NULL AS now, group_id AS old_group, NULL AS new_group,
               subset AS old_subset, NULL AS new_subset
        FROM splits WHERE name = $name
        UNION ALL
        SELECT key, NULL, split, NULL, group_id, NULL, subset FROM assigned
    )
    GROUP BY key
)
WHERE now IS NOT NULL
GROUP BY before, now
ORDER BY before, now
