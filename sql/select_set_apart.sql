-- select_set_apart.sql: the split of every record that no cut decides on. A part of create_split_assigned.sql.
-- {keys}: the position below which groups of held-out taxa are key_unseen; {subset}: as there.
UNION ALL
SELECT p.key, p.label, p.class, {group}, p.shared_content,
       CASE WHEN p.split IN ('validation_unseen', 'test_unseen') AND p.position < '{keys}' THEN 'key_unseen'
            ELSE p.split END,
       CASE WHEN p.split = 'train' THEN {subset} END
FROM set_apart AS p
