-- create_dataset_view.sql: let `images` be the records that a dataset holds, in this session, so that the statements count_*,
-- list_* and measure_* are about them alone.
-- {database}: the name of the open database. {label}: `w.label`, or `i.label` where the dataset has no classes.
-- Reads written(key, label).
CREATE TEMP VIEW images AS
SELECT i.key, i.source, i.path, i."offset", i.bytes, i.mtime, {label} AS label, i.group_id, i.kingdom, i.phylum, i."class",
       i."order", i.family, i.genus, i.species, i.common_name, i.license, i.author, i.url, i.metadata, i.reason, i.width,
       i.height, i.format, i.orientation, i.content_hash
FROM "{database}".images AS i JOIN written AS w ON w.key = i.key
