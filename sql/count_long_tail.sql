-- count_long_tail.sql: one row is a range of class sizes: how many classes (label, or else species) have that many usable
-- images, how many images these are together, and which percentage of all classes is of this size or smaller.
WITH class_sizes AS (
    SELECT count(*) AS images FROM images WHERE reason IS NULL AND coalesce(label, species) <> ''
    GROUP BY coalesce(label, species)
),
ranged AS (
    SELECT images,
           CASE WHEN images = 1 THEN 1 WHEN images < 5 THEN 2 WHEN images < 10 THEN 5 WHEN images < 20 THEN 10
                WHEN images < 50 THEN 20 WHEN images < 100 THEN 50 WHEN images < 1000 THEN 100
                WHEN images < 10000 THEN 1000 ELSE 10000 END AS least_images
    FROM class_sizes
)
SELECT CASE least_images WHEN 1 THEN '1' WHEN 2 THEN '2 to 4' WHEN 5 THEN '5 to 9' WHEN 10 THEN '10 to 19'
                         WHEN 20 THEN '20 to 49' WHEN 50 THEN '50 to 99' WHEN 100 THEN '100 to 999'
                         WHEN 1000 THEN '1000 to 9999' ELSE '10000 or more' END AS class_size,
       count(*) AS classes, CAST(sum(images) AS BIGINT) AS images,
       round(100.0 * CAST(sum(count(*)) OVER (ORDER BY least_images) AS BIGINT)
             / CAST(sum(count(*)) OVER () AS BIGINT), 2) AS percent_up_to_here
FROM ranged
GROUP BY least_images
ORDER BY least_images;
