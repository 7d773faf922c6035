-- hold_out_taxa.sql: say of each taxon whether it is seen in training, or in which split it is held out: a function of the
-- seed and its name alone, or, by rule exact, of its place in the order of positions.
-- Reads taxa(value, name): as records have it, and in normal form. {seed}: the seed; {candidate}, {validation}, {held}:
-- conditions on name, position and place: may be held out, is held out for validation, is held out at all.
CREATE TEMP TABLE taxon_splits AS
SELECT name, CASE WHEN NOT ({held}) THEN 'seen' WHEN {validation} THEN 'validation_unseen' ELSE 'test_unseen' END AS split
FROM (
    SELECT name, position, row_number() OVER (ORDER BY position, name) - 1 AS place
    FROM (
        SELECT DISTINCT name, substr(sha256('{seed}:taxon:' || name), 1, 16) AS position FROM taxa WHERE {candidate}
    ) AS named
) AS placed_taxa;

INSERT INTO taxon_splits
SELECT DISTINCT name, 'seen' FROM taxa WHERE name NOT IN (SELECT name FROM taxon_splits);
