-- select_unwritten.sql: one row is a reason why images that $dataset was to hold could not be written.
SELECT o.reason, count(*) AS images
FROM outcomes AS o JOIN images AS i ON i.key = o.key
WHERE o.dataset = $dataset AND i.reason IS NULL
  AND o.reason NOT IN ('ok', 'excluded', 'no_label', 'ambiguous_label', 'no_split', 'other_split')
GROUP BY o.reason
ORDER BY o.reason
