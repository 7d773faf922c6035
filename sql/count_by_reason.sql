-- count_by_reason.sql: one row is a source and what is wrong with some of its images; reason NULL: nothing, they are usable.
-- The codes are those of shardforge/reasons.py.
SELECT source, reason, count(*) AS images
FROM images
GROUP BY source, reason
ORDER BY source, reason IS NOT NULL, images DESC, reason;
