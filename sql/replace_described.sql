-- replace_described.sql: new rows for the images of which only the description changed: what is listed now, what was scanned
-- before. Not UPDATE, which in DuckDB keeps all old rows in memory.
CREATE TEMP TABLE redescribed AS
SELECT l.key, l.source, l.path, l."offset", l.bytes, l.mtime,
       l.label, l.group_id, l.kingdom, l.phylum, l."class", l."order", l.family, l.genus, l.species, l.common_name,
       l.license, l.author, l.url, l.metadata,
       i.reason, i.width, i.height, i.format, i.orientation, i.content_hash
FROM changes AS c
JOIN listed AS l ON l.position = c.position
JOIN images AS i ON i.key = l.key
WHERE c.change = 'described';
DELETE FROM images WHERE key IN (SELECT key FROM redescribed);
INSERT INTO images SELECT * FROM redescribed;
DROP TABLE redescribed;
