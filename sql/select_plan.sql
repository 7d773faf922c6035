-- select_plan.sql: one row per record of a planned split, in the order in which it is written, with all a worker needs.
-- Reads the temporary table planned(split, key, class_name, reason). $split: a name in it; $seed: of the order.
SELECT i.key, i.source, i.path, i."offset", i.bytes, i.mtime, i.width, i.height, i.content_hash,
       i.label, i.group_id, i.kingdom, i.phylum, i."class", i."order", i.family, i.genus, i.species,
       i.common_name, i.license, i.author, i.url, i.metadata, p.class_name
FROM planned AS p JOIN images AS i ON i.key = p.key
WHERE p.split = $split
ORDER BY sha256($seed || ':order:' || p.key), p.key
