-- insert_planned.sql: fill the temporary table planned(split, key, class_name, reason) with the records of one split or
-- subset that are not excluded; `reason` says why one has no class.
-- $name: the split run; $planned: the name under which the records are written; $split: the split, or '' for a subset;
-- $subsets: ',a,b,' the subsets that make up a subset, or ''; {class_name}: the label, or NULL where there are to be none.
INSERT INTO planned
SELECT $planned, i.key, i.class_name, CASE WHEN i.class_name IS NULL THEN 'no_label' END
FROM splits AS s JOIN (SELECT key, {class_name} AS class_name FROM images) AS i ON i.key = s.key
WHERE s.name = $name
  AND i.key NOT IN (SELECT x.key FROM exclusions AS x WHERE x.key IS NOT NULL)
  AND (s.split = $split OR instr($subsets, ',' || s.subset || ',') > 0)
