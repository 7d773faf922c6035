-- name_homonyms.sql: give the planned records whose name stands for several classes the name of theirs, or, where more
-- than one may be meant, none.
-- {higher}: as in create_class_paths.sql, and never '', which therefore stands for NULL here: joins by IS NOT
-- DISTINCT FROM compare every pair of a name. Reads homonyms; changes planned.
CREATE TEMP TABLE renamed AS
SELECT p.split, p.key, h.class_name, CASE WHEN h.class_name IS NULL THEN 'ambiguous_label' END AS reason
FROM planned AS p
JOIN (SELECT key, {higher} FROM images) AS i ON i.key = p.key
JOIN homonyms AS h
  ON h.name = p.class_name
 AND coalesce(h.kingdom, '') = coalesce(i.kingdom, '') AND coalesce(h.phylum, '') = coalesce(i.phylum, '')
 AND coalesce(h."class", '') = coalesce(i."class", '') AND coalesce(h."order", '') = coalesce(i."order", '')
 AND coalesce(h.family, '') = coalesce(i.family, '') AND coalesce(h.genus, '') = coalesce(i.genus, '');

DELETE FROM planned WHERE class_name IN (SELECT name FROM homonyms);
INSERT INTO planned SELECT split, key, class_name, reason FROM renamed;
DROP TABLE renamed;
