-- check_split_taxa.sql: taxa that a run holds out (they stand in a split of unseen taxa) and that also stand in a split of
-- seen ones or in pretrain. No rows: good; rows can also mean that names changed after the split was made.
SELECT name, taxon, min(split) AS split, max(split) AS other_split
FROM (
    SELECT s.name, s.split,
           CASE r.taxon_rank
               WHEN 'kingdom' THEN i.kingdom WHEN 'phylum' THEN i.phylum WHEN 'class' THEN i."class"
               WHEN 'order' THEN i."order" WHEN 'family' THEN i.family WHEN 'genus' THEN i.genus
               WHEN 'species' THEN CASE WHEN i.genus <> '' AND (substr(i.species, 1, 1) BETWEEN 'a' AND 'z'
                                                                OR substr(i.species, 1, 1) = '×')
                                   THEN i.genus || ' ' || i.species ELSE i.species END
           END AS taxon
    FROM (SELECT name, parameters ->> '$.hold_out.rank' AS taxon_rank FROM split_runs) AS r
    JOIN splits AS s ON s.name = r.name
    JOIN images AS i ON i.key = s.key
    WHERE r.taxon_rank IS NOT NULL AND s.split <> 'other_heldout'
) AS named
WHERE taxon <> ''
GROUP BY name, taxon
HAVING max(CASE WHEN split LIKE '%unseen' THEN 1 ELSE 0 END) > min(CASE WHEN split LIKE '%unseen' THEN 1 ELSE 0 END);
