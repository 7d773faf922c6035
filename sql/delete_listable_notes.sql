-- delete_listable_notes.sql: drop the notes on the rows that delete_listable.sql is about to drop.
DELETE FROM notes
WHERE dataset IS NULL AND key IN (
    SELECT key FROM images
    WHERE source = $source AND (reason = 'unreadable_directory' OR (reason = 'misnamed' AND bytes IS NULL))
      AND key NOT IN (SELECT key FROM listed)
)
