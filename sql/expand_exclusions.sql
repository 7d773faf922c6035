-- expand_exclusions.sql: beside each excluded taxon (key NULL), a row for every record that has it as label or rank.
DELETE FROM exclusions WHERE key IS NOT NULL AND taxon IS NOT NULL;

INSERT INTO exclusions (list, key, taxon, reason)
WITH taxa AS MATERIALIZED (
    SELECT list, taxon, reason FROM exclusions WHERE key IS NULL
), found AS MATERIALIZED (
    SELECT key, label, kingdom, phylum, "class", "order", family, genus, species FROM images
    WHERE label IN (SELECT taxon FROM taxa) OR kingdom IN (SELECT taxon FROM taxa)
       OR phylum IN (SELECT taxon FROM taxa) OR "class" IN (SELECT taxon FROM taxa)
       OR "order" IN (SELECT taxon FROM taxa) OR family IN (SELECT taxon FROM taxa)
       OR genus IN (SELECT taxon FROM taxa) OR species IN (SELECT taxon FROM taxa)
), named AS (
    SELECT key, label AS taxon FROM found UNION SELECT key, kingdom FROM found UNION SELECT key, phylum FROM found
    UNION SELECT key, "class" FROM found UNION SELECT key, "order" FROM found UNION SELECT key, family FROM found
    UNION SELECT key, genus FROM found UNION SELECT key, species FROM found
)
SELECT DISTINCT t.list, n.key, t.taxon, t.reason FROM named AS n JOIN taxa AS t ON t.taxon = n.taxon;
