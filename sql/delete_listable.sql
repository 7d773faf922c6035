-- delete_listable.sql: drop the rows of $source that stand for no file and are listed no more: directories that could not be
-- listed before and now can be, and entries of a list that had no path (misnamed, without a size).
DELETE FROM images
WHERE source = $source AND (reason = 'unreadable_directory' OR (reason = 'misnamed' AND bytes IS NULL))
  AND key NOT IN (SELECT key FROM listed)
