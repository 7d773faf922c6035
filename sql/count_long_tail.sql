-- count_long_tail.sql: one row is a range of class sizes: how many labels have that many usable images, how many images these
-- are together, and which percentage of all labels has at most `most_images`.
WITH class_sizes AS (
    SELECT label, count(*) AS images FROM images WHERE reason IS NULL AND label IS NOT NULL GROUP BY label
),
ranged AS (
    SELECT images,
           CASE
               WHEN images = 1 THEN 1 WHEN images <= 4 THEN 4 WHEN images <= 9 THEN 9 WHEN images <= 19 THEN 19
               WHEN images <= 49 THEN 49 WHEN images <= 99 THEN 99 WHEN images <= 999 THEN 999
               WHEN images <= 9999 THEN 9999 ELSE 999999999
           END AS most_images
    FROM class_sizes
)
SELECT min(images) AS fewest_found, most_images, count(*) AS labels, CAST(sum(images) AS BIGINT) AS images,
       round(100.0 * CAST(sum(count(*)) OVER (ORDER BY most_images) AS BIGINT) / CAST(sum(count(*)) OVER () AS BIGINT), 2)
           AS percent_of_labels
FROM ranged
GROUP BY most_images
ORDER BY most_images;
