-- count_class_sizes.sql: one row is a class size and how many classes (label, or else species) have so many usable images,
-- largest first: the long-tail curve, as few rows as it has steps.
SELECT images, count(*) AS classes
FROM (
    SELECT count(*) AS images FROM images WHERE reason IS NULL AND coalesce(label, species) <> ''
    GROUP BY coalesce(label, species)
) AS class_sizes
GROUP BY images
ORDER BY images DESC;
