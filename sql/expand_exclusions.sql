-- expand_exclusions.sql: beside each excluded taxon (key NULL), a row for every record that has it as label or rank.
-- Reads known_names(value, name), a name as records have it and what it is compared by, and excluded_names(taxon, name).
-- {species}: the name of a record's species (see shardforge/mapping/ranks.py).
CREATE TEMP TABLE excluded_values AS
SELECT DISTINCT x.list, x.taxon, x.reason, k.value
FROM exclusions AS x
JOIN excluded_names AS n ON n.taxon = x.taxon
JOIN known_names AS k ON k.name = n.name
WHERE x.key IS NULL;

INSERT INTO exclusions (list, key, taxon, reason)
WITH found AS MATERIALIZED (
    SELECT * FROM (
        SELECT key, label, kingdom, phylum, "class", "order", family, genus, {species} AS species FROM images
    ) AS named
    WHERE label IN (SELECT value FROM excluded_values) OR kingdom IN (SELECT value FROM excluded_values)
       OR phylum IN (SELECT value FROM excluded_values) OR "class" IN (SELECT value FROM excluded_values)
       OR "order" IN (SELECT value FROM excluded_values) OR family IN (SELECT value FROM excluded_values)
       OR genus IN (SELECT value FROM excluded_values) OR species IN (SELECT value FROM excluded_values)
), named AS (
    SELECT key, label AS value FROM found UNION SELECT key, kingdom FROM found UNION SELECT key, phylum FROM found
    UNION SELECT key, "class" FROM found UNION SELECT key, "order" FROM found UNION SELECT key, family FROM found
    UNION SELECT key, genus FROM found UNION SELECT key, species FROM found
)
SELECT DISTINCT v.list, n.key, v.taxon, v.reason FROM named AS n JOIN excluded_values AS v ON v.value = n.value;
