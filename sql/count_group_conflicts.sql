-- count_group_conflicts.sql: one row: the contents that occur under several labels, and their records.
SELECT count(*), CAST(coalesce(sum(images), 0) AS BIGINT)
FROM (
    SELECT count(*) AS images FROM placed WHERE shared_content IS NOT NULL
    GROUP BY shared_content HAVING min(label) <> max(label)
) AS conflicts
