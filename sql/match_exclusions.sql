-- match_exclusions.sql: one step of matching: the records whose value is what an entry says, one row per entry and record
-- in matches(number, key). Entries that found something in an earlier step are left alone. What stands for records,
-- column and kinds is in shardforge/splits/matching.py.
-- Reads the temporary table entries(number, list, entry, path, plain_path, file_name, content_hash, id, kind, reason).
-- CROSS JOIN: SQLite then reads images once and looks entries up, and not the other way round.
INSERT INTO matches
SELECT DISTINCT e.number, i.key FROM ({records}) AS i CROSS JOIN entries AS e
WHERE i.value = e.{column} AND e.kind IN ({kinds}) AND e.number NOT IN (SELECT number FROM matches)
