-- count_by_aspect.sql: one row is a range of width / height, the images being upright as their EXIF orientation says.
WITH upright AS (
    SELECT CASE WHEN orientation >= 5 THEN 1.0 * height / width ELSE 1.0 * width / height END AS aspect
    FROM images
    WHERE reason IS NULL AND width > 0 AND height > 0
),
ranged AS (
    SELECT CASE WHEN aspect < 0.5 THEN 1 WHEN aspect < 0.74 THEN 2 WHEN aspect < 0.95 THEN 3 WHEN aspect <= 1.05 THEN 4
                WHEN aspect <= 1.35 THEN 5 WHEN aspect <= 2 THEN 6 ELSE 7 END AS step
    FROM upright
)
SELECT CASE step WHEN 1 THEN 'taller than 1:2' WHEN 2 THEN '1:2 to 3:4' WHEN 3 THEN '3:4 to square' WHEN 4 THEN 'square'
                 WHEN 5 THEN 'square to 4:3' WHEN 6 THEN '4:3 to 2:1' ELSE 'wider than 2:1' END AS aspect,
       count(*) AS images, round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent
FROM ranged
GROUP BY step
ORDER BY step;
