-- select_exclusion_rules.sql: what each list names, as keys and as taxa; not the records of the taxa.
SELECT DISTINCT list, coalesce(key, 'taxon ' || taxon) AS rule
FROM exclusions WHERE key IS NULL OR taxon IS NULL
ORDER BY list, rule
