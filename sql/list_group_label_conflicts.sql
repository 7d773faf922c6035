-- list_group_label_conflicts.sql: the usable records whose bytes also occur under another label, one row per record.
SELECT i.content_hash, coalesce(i.label, i.species) AS label, i.key, i.source, i.path
FROM images AS i
WHERE i.reason IS NULL AND i.content_hash IN (
    SELECT content_hash FROM images WHERE reason IS NULL
    GROUP BY content_hash HAVING min(coalesce(label, species)) <> max(coalesce(label, species))
)
ORDER BY i.content_hash, label, i.key;
