-- select_unmatched_exclusions.sql: the entries of the lists given to this run that no record answers to.
SELECT e.list, e.entry
FROM entries AS e
WHERE e.number NOT IN (SELECT number FROM matches)
  AND NOT EXISTS (SELECT 1 FROM exclusions AS x
                  WHERE x.list = e.list AND x.taxon = e.entry AND x.key IS NOT NULL AND e.kind IN ('any', 'taxon'))
ORDER BY e.number
