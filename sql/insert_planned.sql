-- insert_planned.sql: fill the temporary table planned(split, key, class_name) with the records of one split or subset
-- that are not excluded.
-- $name: the split run; $planned: the name under which the records are written; $split: the split, or '' for a subset;
-- $subsets: ',a,b,' the subsets that make up a subset, or ''; $column: the label column, or NULL for a dataset without labels.
INSERT INTO planned
SELECT $planned, i.key,
       CASE CAST($column AS VARCHAR)
           WHEN 'label' THEN i.label WHEN 'group_id' THEN i.group_id WHEN 'kingdom' THEN i.kingdom
           WHEN 'phylum' THEN i.phylum WHEN 'class' THEN i."class" WHEN 'order' THEN i."order"
           WHEN 'family' THEN i.family WHEN 'genus' THEN i.genus WHEN 'species' THEN i.species
           WHEN 'common_name' THEN i.common_name WHEN 'license' THEN i.license WHEN 'author' THEN i.author
           WHEN 'url' THEN i.url WHEN 'path' THEN i.path WHEN 'source' THEN i.source
       END
FROM splits AS s JOIN images AS i ON i.key = s.key
WHERE s.name = $name
  AND i.key NOT IN (SELECT x.key FROM exclusions AS x WHERE x.key IS NOT NULL)
  AND (s.split = $split OR instr($subsets, ',' || s.subset || ',') > 0)
