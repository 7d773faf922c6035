-- place_split_records.sql: one row per usable record, with its group and the group's position: the first 16 hex digits
-- of sha256(SEED || ':' || GROUP), a number from 0 to 2^64 - 1 written so that text order is number order.
-- {seed}: the seed; {subset_position}: the same for subsets of train, or NULL when there are none; {shared_content}: the
-- content where other records have it too, or NULL when groups are contents anyway.
CREATE TEMP TABLE placed AS
SELECT key, label, class, taxon, group_id, shared_content,
       substr(sha256('{seed}:' || group_id), 1, 16) AS position, {subset_position} AS subset_position
FROM (
    SELECT u.key, u.label, u.class, u.taxon, coalesce(m.name, u.node) AS group_id,
           {shared_content} AS shared_content
    FROM usable AS u LEFT JOIN merged AS m ON m.node = u.node
) AS grouped;
