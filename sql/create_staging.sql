-- create_staging.sql: the temporary tables of one scan. Their rows are:
-- listed: an image as its source lists it, numbered in that order; its columns are those of records.LISTED, and a note.
CREATE TEMP TABLE listed AS
SELECT CAST(0 AS BIGINT) AS position, key, source, path, "offset", bytes, mtime,
       label, group_id, kingdom, phylum, "class", "order", family, genus, species, common_name, license, author, url,
       metadata, reason, CAST(NULL AS VARCHAR) AS note
FROM images WHERE false;

-- changes: a listed image that differs from what is mapped (see insert_changes.sql), numbered from 0 in each kind of change;
-- `was` is its reason so far.
CREATE TEMP TABLE changes (position BIGINT, change VARCHAR, number BIGINT, was VARCHAR);

-- spelled: a listed image whose path is not spelled plainly, as ./a.jpg or x/../a.jpg; identity: the key of the plain spelling.
CREATE TEMP TABLE spelled (position BIGINT, identity VARCHAR);

-- vanished: the key of an image that is mapped and no longer there.
CREATE TEMP TABLE vanished (key VARCHAR);

-- replaced: the key of a record whose row is about to be written anew.
CREATE TEMP TABLE replaced (key VARCHAR);
