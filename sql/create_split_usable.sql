-- create_split_usable.sql: the records that a split assigns. A node is a value that ties records together: all records
-- of one node share a split. The smallest node of connected nodes names the group.
-- {node}: "'COLUMN:' || COLUMN" of --group-by, or NULL; {label_class}: the column of --stratify, or NULL; {taxon}: the name
-- at the rank of --hold-out-rank, or NULL; {content}: content_hash, or that of the cluster of --group-near-duplicates.
CREATE TEMP VIEW usable AS
SELECT key, {content} AS content_hash, coalesce(label, species) AS label, coalesce({label_class}, '') AS class, {taxon} AS taxon,
       coalesce({node}, 'content:' || {content}, 'key:' || key) AS node
FROM images
WHERE reason IS NULL AND key NOT IN (SELECT key FROM exclusions WHERE key IS NOT NULL);

-- The contents that more than one usable record has: few, and all that can tie nodes together. They are looked for among
-- all records first, from the content alone: SQLite reads its index, and nothing else is sorted or hashed along.
CREATE TEMP TABLE repeated AS
SELECT {content} AS content_hash FROM images WHERE {content} IS NOT NULL GROUP BY {content} HAVING count(*) > 1;
CREATE TEMP TABLE shared AS
SELECT content_hash, count(*) AS images, coalesce(min(label) <> max(label), FALSE) AS conflicting
FROM usable WHERE content_hash IN (SELECT content_hash FROM repeated) GROUP BY content_hash HAVING count(*) > 1;

-- Nodes whose group has another name; empty while no content ties two nodes together.
CREATE TEMP TABLE merged (node VARCHAR, name VARCHAR);
