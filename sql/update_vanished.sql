-- update_vanished.sql: mark the images in vanished; their rows stay, and are read again when the files come back.
UPDATE images SET reason = 'vanished' WHERE key IN (SELECT key FROM vanished)
