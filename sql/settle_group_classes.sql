-- settle_group_classes.sql: a group whose records have several classes counts for its most frequent one, ties for the
-- smallest. Groups of one record are left out, as most are.
CREATE TEMP TABLE majority AS
WITH counted AS (
    SELECT group_id, class, count(*) AS images FROM placed
    WHERE group_id IN (
        SELECT group_id FROM placed
        WHERE group_id IN (SELECT 'content:' || content_hash FROM shared) OR group_id NOT LIKE 'content:%'
        GROUP BY group_id HAVING min(class) <> max(class)
    )
    GROUP BY group_id, class
), ranked AS (
    SELECT group_id, class, row_number() OVER (PARTITION BY group_id ORDER BY images DESC, class) AS place FROM counted
)
SELECT group_id, class FROM ranked WHERE place = 1;

CREATE INDEX majority_group ON majority (group_id);

UPDATE placed SET class = (SELECT m.class FROM majority AS m WHERE m.group_id = placed.group_id)
WHERE group_id IN (SELECT group_id FROM majority);
