-- select_unsearched.sql: usable images that a search for near duplicates does not see, one row per reason: no_hash (mapped
-- without content_hash), not_hashed (mapped after the search), low_quality (below $min_quality), or why there is no hash.
SELECT CASE WHEN i.content_hash IS NULL THEN 'no_hash'
            WHEN p.content_hash IS NULL THEN 'not_hashed'
            ELSE coalesce(p.reason, 'low_quality') END AS why, count(*) AS images
FROM images AS i LEFT JOIN perceptual_hashes AS p ON p.content_hash = i.content_hash
WHERE i.reason IS NULL AND (p.quality IS NULL OR p.quality < $min_quality)
GROUP BY 1 ORDER BY 1
