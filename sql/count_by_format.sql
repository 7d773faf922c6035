-- count_by_format.sql: one row is a file format as Pillow names it, with its usable images and the bytes of their files.
SELECT format, count(*) AS images, round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent,
       CAST(sum(bytes) AS BIGINT) AS bytes
FROM images
WHERE reason IS NULL
GROUP BY format
ORDER BY images DESC, format;
