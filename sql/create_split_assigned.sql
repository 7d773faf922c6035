-- create_split_assigned.sql: the split of every placed record: the positions below the cut `validation` are validation,
-- from there to the cut `test` they are test, the rest is train.
-- {group}: the column that holds the group, or NULL where groups are contents; {subset}: the smallest nested subset by subset_position, or NULL. What stands after the last line is the text of
-- select_set_apart.sql where taxa are held out, else nothing.
CREATE TEMP VIEW assigned AS
SELECT p.key, p.label, p.class, {group} AS group_id, p.shared_content,
       CASE WHEN p.position >= c.test THEN 'train' WHEN p.position >= c.validation THEN 'test' ELSE 'validation' END AS split,
       CASE WHEN p.position >= c.test THEN {subset} END AS subset
FROM placed AS p CROSS JOIN cuts AS c
WHERE c.class = p.class
{set_apart}
