-- measure_long_tail.sql: one row is how uneven the classes are (label, or else species), in usable images: quantiles (half of
-- the classes have at most `median` images), the percentage of classes with fewer than 5, 10 and 50 images, the
-- percentage of images in the largest tenth of the classes, and the Gini coefficient (0: all classes are of one size;
-- towards 1: a few hold nearly all images).
WITH class_sizes AS (
    SELECT count(*) AS images FROM images WHERE reason IS NULL AND coalesce(label, species) <> ''
    GROUP BY coalesce(label, species)
),
placed AS (
    SELECT images, row_number() OVER (ORDER BY images) AS place, count(*) OVER () AS classes FROM class_sizes
)
SELECT count(*) AS classes, CAST(sum(images) AS BIGINT) AS images,
       min(images) AS smallest,
       min(CASE WHEN 10 * place >= classes THEN images END) AS tenth,
       min(CASE WHEN 4 * place >= classes THEN images END) AS quarter,
       min(CASE WHEN 2 * place >= classes THEN images END) AS median,
       min(CASE WHEN 4 * place >= 3 * classes THEN images END) AS three_quarters,
       min(CASE WHEN 10 * place >= 9 * classes THEN images END) AS nine_tenths,
       max(images) AS largest,
       round(100.0 * count(CASE WHEN images < 5 THEN 1 END) / count(*), 2) AS percent_below_5,
       round(100.0 * count(CASE WHEN images < 10 THEN 1 END) / count(*), 2) AS percent_below_10,
       round(100.0 * count(CASE WHEN images < 50 THEN 1 END) / count(*), 2) AS percent_below_50,
       round(100.0 * CAST(sum(CASE WHEN 10 * (classes - place) < classes THEN images ELSE 0 END) AS BIGINT)
             / CAST(sum(images) AS BIGINT), 2) AS percent_in_largest_tenth,
       round(2.0 * CAST(sum(place * images) AS BIGINT) / (CAST(sum(images) AS BIGINT) * count(*))
             - (count(*) + 1.0) / count(*), 4) AS gini
FROM placed
HAVING count(*) > 0;
