-- insert_changes.sql: fill changes with each listed image that is not mapped as it is listed; all others are unchanged.
--   new        was not mapped
--   changed    other size, time or place in its tar, or another reason why it cannot be used, or it is back again, or what a
--              list or a tar said of it, and that alone, kept it from being read
--   unread     as mapped, but to be read again: it could not be opened or took too long, or has no content_hash and should
--              ($hash = 1), or all that cannot be used is tried again ($retry = 1)
--   described  as mapped, but something else is known about it
-- An image that a list names and that is not there is no change here: see insert_vanished.sql.
INSERT INTO changes
SELECT position, change, row_number() OVER (PARTITION BY change ORDER BY position) - 1, was
FROM (
    SELECT l.position, i.reason AS was,
           CASE
               WHEN i.key IS NULL THEN 'new'
               WHEN l.reason = 'vanished' THEN NULL
               WHEN l.bytes IS DISTINCT FROM i.bytes OR l.mtime IS DISTINCT FROM i.mtime
                   OR l."offset" IS DISTINCT FROM i."offset" THEN 'changed'
               WHEN l.reason IS NOT NULL AND l.reason IS DISTINCT FROM i.reason THEN 'changed'
               WHEN l.reason IS NULL AND i.reason IN ('vanished', 'broken_link', 'changed', 'twice', 'bad_sample', 'misnamed',
                                                      'no_metadata', 'compressed', 'link') THEN 'changed'
               WHEN l.reason IS NULL AND i.reason IN ('unreadable', 'timed_out') THEN 'unread'
               WHEN l.reason IS NULL AND i.reason IS NOT NULL AND $retry = 1 THEN 'unread'
               WHEN l.reason IS NULL AND i.reason IS NULL AND i.content_hash IS NULL AND $hash = 1 THEN 'unread'
               WHEN (l.label, l.group_id, l.kingdom, l.phylum, l."class", l."order", l.family,
                     l.genus, l.species, l.common_name, l.license, l.author, l.url, l.metadata)
                   IS DISTINCT FROM (i.label, i.group_id, i.kingdom, i.phylum, i."class", i."order", i.family,
                     i.genus, i.species, i.common_name, i.license, i.author, i.url, i.metadata) THEN 'described'
           END AS change
    FROM listed AS l LEFT JOIN images AS i ON i.key = l.key
) AS compared
WHERE change IS NOT NULL
