-- count_by_class.sql: one row is a label, with its usable images; label NULL: images without one.
SELECT label, count(*) AS images, count(DISTINCT source) AS sources, CAST(sum(bytes) AS BIGINT) AS bytes
FROM images
WHERE reason IS NULL
GROUP BY label
ORDER BY images DESC, label;
