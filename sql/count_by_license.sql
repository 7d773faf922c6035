-- count_by_license.sql: one row is a licence in a source, with its usable images; license NULL: images without one.
SELECT license, source, count(*) AS images, count(DISTINCT author) AS authors,
       count(*) - count(author) AS without_author, count(*) - count(url) AS without_url
FROM images
WHERE reason IS NULL
GROUP BY license, source
ORDER BY images DESC, license, source;
