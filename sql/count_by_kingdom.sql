-- count_by_kingdom.sql: one row is a kingdom, with its usable images and the different names at each rank below it;
-- kingdom NULL: images whose kingdom is not known. A species written without its genus is read with it.
SELECT kingdom, count(*) AS images, round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent,
       count(DISTINCT phylum) AS phyla, count(DISTINCT "class") AS classes, count(DISTINCT "order") AS orders,
       count(DISTINCT family) AS families, count(DISTINCT genus) AS genera,
       count(DISTINCT CASE WHEN genus IS NOT NULL AND (substr(species, 1, 1) BETWEEN 'a' AND 'z'
                                                       OR substr(species, 1, 1) = '×')
                           THEN genus || ' ' || species ELSE species END) AS named_species
FROM images
WHERE reason IS NULL
GROUP BY kingdom
ORDER BY images DESC, kingdom;
