-- create_catalog_views.sql: read a dataset's catalog as the tables of a mapping (DuckDB), so that the statements count_*,
-- list_* and measure_* are about the dataset alone. A record that several splits hold is one image; the label is the class that
-- `.cls` says, '' where there is none, so that nothing else counts as a class.
-- {catalog}: the path of catalog.parquet; {label}: `c.label` where the dataset has no classes, else as above.
CREATE VIEW catalog AS SELECT *, file_row_number FROM read_parquet('{catalog}', file_row_number = true);

-- The first rows of the records that stand in several splits, such as train and a subset of it.
CREATE TABLE first_rows AS
SELECT key, min(file_row_number) AS first_row FROM catalog GROUP BY key HAVING count(*) > 1;

CREATE VIEW images AS
SELECT c.key, c.source, c.path, c.bytes, {label} AS label,
       c.kingdom, c.phylum, c."class", c."order", c.family, c.genus, c.species, c.common_name,
       c.license, c.author, c.url, CAST(NULL AS VARCHAR) AS reason, c.width, c.height, c.content_hash
FROM catalog AS c LEFT JOIN first_rows AS f ON f.key = c.key
WHERE f.key IS NULL OR f.first_row = c.file_row_number;

CREATE VIEW sources AS
SELECT DISTINCT source AS name, CAST(NULL AS VARCHAR) AS kind, CAST(NULL AS VARCHAR) AS root,
       CAST(NULL AS VARCHAR) AS scanned_at
FROM catalog;
