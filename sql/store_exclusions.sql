-- store_exclusions.sql: keep matched entries as the keys they found, the others as taxa or keys that may come later.
INSERT INTO exclusions (list, key, taxon, reason)
SELECT DISTINCT e.list, m.key, CAST(NULL AS VARCHAR), e.reason FROM entries AS e JOIN matches AS m ON m.number = e.number;

INSERT INTO exclusions (list, key, taxon, reason)
SELECT DISTINCT list, CASE WHEN kind = 'key' THEN entry END, CASE WHEN kind <> 'key' THEN entry END, reason
FROM entries
WHERE kind IN ('any', 'key', 'taxon') AND number NOT IN (SELECT number FROM matches);
