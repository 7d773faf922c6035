-- count_by_rank.sql: one row is a rank, highest first, over the usable images:
-- images: those whose name at this rank is known; taxa: different names, equal names in two kingdoms being two;
-- lowest_known: images that are named down to this rank and no further (rank 'none': not named at all);
-- gaps: images without this rank that have a lower one. A species written without its genus is read with it.
WITH lineages AS (
    SELECT kingdom, phylum, "class", "order", family, genus, species, count(*) AS images,
           CASE WHEN species IS NOT NULL THEN 7 WHEN genus IS NOT NULL THEN 6 WHEN family IS NOT NULL THEN 5
                WHEN "order" IS NOT NULL THEN 4 WHEN "class" IS NOT NULL THEN 3 WHEN phylum IS NOT NULL THEN 2
                WHEN kingdom IS NOT NULL THEN 1 ELSE 0 END AS lowest
    FROM images
    WHERE reason IS NULL
    GROUP BY kingdom, phylum, "class", "order", family, genus, species
),
ranks (level, rank) AS (
    VALUES (1, 'kingdom'), (2, 'phylum'), (3, 'class'), (4, 'order'), (5, 'family'), (6, 'genus'), (7, 'species'),
           (8, 'none')
),
named AS (
    SELECT r.level, r.rank, l.images, l.lowest, l.kingdom,
           CASE r.level WHEN 1 THEN l.kingdom WHEN 2 THEN l.phylum WHEN 3 THEN l."class" WHEN 4 THEN l."order"
                        WHEN 5 THEN l.family WHEN 6 THEN l.genus
                        WHEN 7 THEN CASE WHEN l.genus IS NOT NULL AND (substr(l.species, 1, 1) BETWEEN 'a' AND 'z'
                                                                       OR substr(l.species, 1, 1) = '×')
                                         THEN l.genus || ' ' || l.species ELSE l.species END END AS name
    FROM ranks AS r CROSS JOIN lineages AS l
)
SELECT rank,
       CAST(sum(CASE WHEN name IS NOT NULL THEN images ELSE 0 END) AS BIGINT) AS images,
       round(100.0 * CAST(sum(CASE WHEN name IS NOT NULL THEN images ELSE 0 END) AS BIGINT)
             / CAST(sum(images) AS BIGINT), 2) AS percent,
       count(DISTINCT CASE WHEN name IS NOT NULL THEN coalesce(kingdom, '') || '/' || name END) AS taxa,
       CAST(sum(CASE WHEN lowest = level % 8 THEN images ELSE 0 END) AS BIGINT) AS lowest_known,
       CAST(sum(CASE WHEN name IS NULL AND lowest > level THEN images ELSE 0 END) AS BIGINT) AS gaps
FROM named
GROUP BY level, rank
ORDER BY level;
