-- match_exclusions.sql: the records that the entries of exclusion lists name, one row per entry and record in
-- matches(number, key). An entry of kind 'any' is tried as key, path, file name and content hash, in this order; the
-- first that finds something decides. Entries that find nothing may still be taxa (expand_exclusions.sql).
-- Reads the temporary table entries(number, list, entry, path, file_name, content_hash, kind, reason).
-- CROSS JOIN: SQLite then reads images once and looks entries up, and not the other way round.
INSERT INTO matches
SELECT e.number, i.key FROM images AS i CROSS JOIN entries AS e
WHERE i.key = e.entry AND e.kind IN ('any', 'key');

INSERT INTO matches
SELECT e.number, i.key FROM images AS i CROSS JOIN entries AS e
WHERE i.path = e.path AND e.kind IN ('any', 'path') AND e.number NOT IN (SELECT number FROM matches);

-- The path with the source's root before it.
INSERT INTO matches
SELECT e.number, i.key FROM images AS i JOIN sources AS s ON s.name = i.source CROSS JOIN entries AS e
WHERE s.root || '/' || i.path = e.path AND e.kind IN ('any', 'path') AND e.number NOT IN (SELECT number FROM matches);

-- The file name: what remains when the characters other than '/' at the end are cut off.
INSERT INTO matches
SELECT e.number, i.key FROM images AS i CROSS JOIN entries AS e
WHERE substr(i.path, length(rtrim(i.path, replace(i.path, '/', ''))) + 1) = e.file_name
  AND e.kind IN ('any', 'path') AND e.number NOT IN (SELECT number FROM matches);

INSERT INTO matches
SELECT e.number, i.key FROM images AS i CROSS JOIN entries AS e
WHERE i.content_hash = e.content_hash AND e.kind IN ('any', 'content_hash')
  AND e.number NOT IN (SELECT number FROM matches);
