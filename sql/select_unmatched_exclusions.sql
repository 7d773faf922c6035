-- select_unmatched_exclusions.sql: the entries of the lists given to this run that no record answers to.
SELECT e.list, e.entry, e.kind
FROM entries AS e
WHERE e.number NOT IN (SELECT number FROM matches)
  AND (e.kind NOT IN ('any', 'taxon')
       OR (e.list, e.entry) NOT IN (SELECT x.list, x.taxon FROM exclusions AS x
                                    WHERE x.taxon IS NOT NULL AND x.key IS NOT NULL))
ORDER BY e.number
