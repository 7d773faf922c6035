-- insert_vanished.sql: fill vanished with the images of the source $source that are mapped and no longer listed. What lies
-- in a directory or tar that cannot be read is not known to have vanished, and what stands for no file goes another way
-- (see delete_listable.sql).
INSERT INTO vanished
SELECT i.key
FROM images AS i
WHERE i.source = $source AND (i.reason IS NULL OR i.reason NOT IN ('vanished', 'unreadable_directory'))
  AND (i.reason IS NULL OR i.reason <> 'misnamed' OR i.bytes IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM listed AS l WHERE l.key = i.key AND (l.reason IS NULL OR l.reason <> 'vanished'))
  AND NOT EXISTS (
      SELECT 1
      FROM (
          SELECT CASE WHEN path = '.' THEN '' WHEN reason = 'unreadable' THEN path || '::' ELSE path || '/' END AS prefix
          FROM listed
          WHERE reason = 'unreadable_directory' OR (reason = 'unreadable' AND path LIKE '%.tar')
      ) AS unknown
      WHERE substr(i.path, 1, length(unknown.prefix)) = unknown.prefix
  )
