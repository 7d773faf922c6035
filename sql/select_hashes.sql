-- select_hashes.sql: the perceptual hashes of the contents of usable images, in the order of the contents.
SELECT content_hash, hash FROM perceptual_hashes
WHERE quality >= $min_quality AND content_hash IN (SELECT content_hash FROM images WHERE reason IS NULL)
ORDER BY content_hash
