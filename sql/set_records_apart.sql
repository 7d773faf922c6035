-- set_records_apart.sql: take the groups that a held-out taxon or the lack of a taxon decides on out of placed and into
-- set_apart. A group goes where its taxa go; one whose taxa go to different places is other_heldout: it can be neither
-- trained on nor tested with. Records without a taxon follow those of their group that have one.
-- Reads taxa and taxon_splits. {without_rank}: the split of groups in which no record has a taxon.
CREATE TEMP TABLE sides AS
SELECT t.value AS taxon, s.split FROM taxa AS t JOIN taxon_splits AS s ON s.name = t.name;

CREATE TEMP TABLE group_sides AS
SELECT group_id,
       CASE WHEN max(split) IS NULL THEN '{without_rank}' WHEN min(split) = max(split) THEN max(split)
            ELSE 'other_heldout' END AS split
FROM (
    SELECT p.group_id, s.split FROM placed AS p LEFT JOIN sides AS s ON s.taxon = p.taxon
    WHERE p.group_id IN (
        SELECT q.group_id FROM placed AS q LEFT JOIN sides AS o ON o.taxon = q.taxon
        WHERE o.split IS NULL OR o.split <> 'seen'
    )
) AS sided
GROUP BY group_id HAVING max(split) IS NULL OR min(split) <> 'seen' OR max(split) <> 'seen';

CREATE TEMP TABLE set_apart AS
SELECT p.*, g.split FROM placed AS p JOIN group_sides AS g ON g.group_id = p.group_id;

DELETE FROM placed WHERE group_id IN (SELECT group_id FROM group_sides);
