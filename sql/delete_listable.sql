-- delete_listable.sql: drop the rows of the directories of $source that could not be listed before and now can be.
DELETE FROM images
WHERE source = $source AND reason = 'unreadable_directory' AND key NOT IN (SELECT key FROM listed)
