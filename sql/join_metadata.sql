-- join_metadata.sql: give the listed images what the metadata says; where it says nothing, the source's own word stays.
-- A new table in place of UPDATE, which in DuckDB keeps all old rows in memory.
CREATE TEMP TABLE joined AS
SELECT l.position, l.key, l.source, l.path, l."offset", l.bytes, l.mtime,
       COALESCE(d.label, l.label) AS label, COALESCE(d.group_id, l.group_id) AS group_id,
       COALESCE(d.kingdom, l.kingdom) AS kingdom, COALESCE(d.phylum, l.phylum) AS phylum,
       COALESCE(d."class", l."class") AS "class", COALESCE(d."order", l."order") AS "order",
       COALESCE(d.family, l.family) AS family, COALESCE(d.genus, l.genus) AS genus,
       COALESCE(d.species, l.species) AS species, COALESCE(d.common_name, l.common_name) AS common_name,
       COALESCE(d.license, l.license) AS license, COALESCE(d.author, l.author) AS author,
       COALESCE(d.url, l.url) AS url, COALESCE(d.metadata, l.metadata) AS metadata, l.reason
FROM listed AS l
LEFT JOIN matches AS m ON m.position = l.position
LEFT JOIN described AS d ON d.value = m.value;
DROP TABLE listed;
ALTER TABLE joined RENAME TO listed;
