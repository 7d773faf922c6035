-- create_dataset_view.sql: let `images` be the records that a dataset holds, in this session, so that the statements count_*,
-- list_* and measure_* are about them alone.
-- {database}: the name of the open database; {dataset}: as in datasets.out.
CREATE TEMP VIEW images AS
SELECT * FROM "{database}".images
WHERE key IN (SELECT key FROM "{database}".samples WHERE dataset = '{dataset}')
