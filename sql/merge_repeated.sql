-- merge_repeated.sql: one row for each path in listed. Rows that say the same are one; of rows that differ the first stays, with
-- the reason 'twice' and a note. Reads repetitions (see find_repeated.sql).
-- {differing}: the names of the columns in which rows of one path differ, each after ', '; '' where they say the same.
CREATE TEMP TABLE torn AS
SELECT identity, rows, substr(differing, 3) AS differing
FROM (
    SELECT r.identity, count(*) AS rows, {differing} AS differing
    FROM repetitions AS r JOIN listed AS l ON l.position = r.position
    GROUP BY r.identity
) AS compared
WHERE differing <> '';

DELETE FROM listed WHERE position IN (SELECT position FROM repetitions WHERE place > 1);

UPDATE listed
SET reason = 'twice',
    note = (SELECT 'listed ' || t.rows || ' times, with different ' || t.differing
            FROM repetitions AS r JOIN torn AS t ON t.identity = r.identity
            WHERE r.position = listed.position)
WHERE position IN (SELECT r.position FROM repetitions AS r JOIN torn AS t ON t.identity = r.identity WHERE r.place = 1);
