-- name_homonyms.sql: give the planned records whose name stands for several classes the name of theirs, or, where more
-- than one may be meant, none.
-- {name}, {higher}: as in create_class_paths.sql. Reads homonyms and class_spellings; changes planned.
-- The name stands in both joins, as without it every record would meet every homonym of its kingdom.
CREATE TEMP TABLE renamed AS
SELECT p.split, p.key, h.class_name, CASE WHEN h.class_name IS NULL THEN 'ambiguous_label' END AS reason
FROM planned AS p
JOIN (
    SELECT i.*, coalesce(s.name, i.written) AS name
    FROM (SELECT key, {name} AS written, {higher} FROM images) AS i
    LEFT JOIN class_spellings AS s ON s.written = i.written
) AS i ON i.key = p.key AND i.name = p.class_name
JOIN homonyms AS h
  ON h.name = i.name AND h.kingdom IS NOT DISTINCT FROM i.kingdom AND h.phylum IS NOT DISTINCT FROM i.phylum
 AND h."class" IS NOT DISTINCT FROM i."class" AND h."order" IS NOT DISTINCT FROM i."order"
 AND h.family IS NOT DISTINCT FROM i.family AND h.genus IS NOT DISTINCT FROM i.genus;

DELETE FROM planned WHERE class_name IN (SELECT name FROM homonyms);
INSERT INTO planned SELECT split, key, class_name, reason FROM renamed;
DROP TABLE renamed;
