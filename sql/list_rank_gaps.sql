-- list_rank_gaps.sql: one row is a set of ranks that are missing above the lowest known one, with the usable images and
-- the lineages that lack them, and one of these as an example.
WITH lineages AS (
    SELECT kingdom, phylum, "class", "order", family, genus, species, count(*) AS images,
           coalesce(species, genus, family, "order", "class", phylum) AS example,
           CASE WHEN species IS NOT NULL THEN 7 WHEN genus IS NOT NULL THEN 6 WHEN family IS NOT NULL THEN 5
                WHEN "order" IS NOT NULL THEN 4 WHEN "class" IS NOT NULL THEN 3 WHEN phylum IS NOT NULL THEN 2
                ELSE 1 END AS lowest
    FROM images
    WHERE reason IS NULL
    GROUP BY kingdom, phylum, "class", "order", family, genus, species
),
gaps AS (
    SELECT trim(CASE WHEN kingdom IS NULL AND lowest > 1 THEN 'kingdom ' ELSE '' END
                || CASE WHEN phylum IS NULL AND lowest > 2 THEN 'phylum ' ELSE '' END
                || CASE WHEN "class" IS NULL AND lowest > 3 THEN 'class ' ELSE '' END
                || CASE WHEN "order" IS NULL AND lowest > 4 THEN 'order ' ELSE '' END
                || CASE WHEN family IS NULL AND lowest > 5 THEN 'family ' ELSE '' END
                || CASE WHEN genus IS NULL AND lowest > 6 THEN 'genus ' ELSE '' END) AS missing,
           images, example
    FROM lineages
)
SELECT missing, CAST(sum(images) AS BIGINT) AS images, count(*) AS lineages, min(example) AS example
FROM gaps
WHERE missing <> ''
GROUP BY missing
ORDER BY images DESC, missing;
