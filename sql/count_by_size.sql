-- count_by_size.sql: one row is a range of the shorter side in pixels, with the usable images in it.
WITH ranged AS (
    SELECT CASE WHEN least_side < 64 THEN 0 WHEN least_side < 128 THEN 64 WHEN least_side < 224 THEN 128
                WHEN least_side < 256 THEN 224 WHEN least_side < 384 THEN 256 WHEN least_side < 512 THEN 384
                WHEN least_side < 1024 THEN 512 WHEN least_side < 2048 THEN 1024 WHEN least_side < 4096 THEN 2048
                ELSE 4096 END AS from_pixels, bytes
    FROM (
        SELECT CASE WHEN width < height THEN width ELSE height END AS least_side, bytes
        FROM images
        WHERE reason IS NULL AND width IS NOT NULL AND height IS NOT NULL
    ) AS sides
)
SELECT CASE from_pixels WHEN 0 THEN 'below 64' WHEN 64 THEN '64 to 127' WHEN 128 THEN '128 to 223'
                        WHEN 224 THEN '224 to 255' WHEN 256 THEN '256 to 383' WHEN 384 THEN '384 to 511'
                        WHEN 512 THEN '512 to 1023' WHEN 1024 THEN '1024 to 2047' WHEN 2048 THEN '2048 to 4095'
                        ELSE '4096 or more' END AS shorter_side,
       count(*) AS images, round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent,
       CAST(sum(bytes) AS BIGINT) AS bytes
FROM ranged
GROUP BY from_pixels
ORDER BY from_pixels;
