-- stage_unhashed.sql: one usable image for each content that has no perceptual hash yet, numbered in the order of their
-- paths; and forget the hashes of contents that no image has any more.
DROP TABLE IF EXISTS unhashed;

CREATE TEMP TABLE unhashed AS
WITH missing AS (
    SELECT min(key) AS key FROM images
    WHERE reason IS NULL AND content_hash IS NOT NULL
      AND content_hash NOT IN (SELECT content_hash FROM perceptual_hashes)
    GROUP BY content_hash
)
SELECT row_number() OVER (ORDER BY i.source, i.path) - 1 AS number,
       i.content_hash, s.root, i.path, i."offset", i.bytes, i.mtime, i.reason
FROM missing AS m JOIN images AS i ON i.key = m.key JOIN sources AS s ON s.name = i.source;

DELETE FROM perceptual_hashes WHERE content_hash NOT IN (SELECT content_hash FROM images WHERE content_hash IS NOT NULL);
