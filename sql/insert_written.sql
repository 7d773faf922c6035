-- insert_written.sql: fill the temporary table planned(split, key, class_name, reason) with the samples of the dataset $dataset.
-- $pretrain: the split whose samples have no class; {class_name}: the label.
INSERT INTO planned
SELECT s.split, s.key, CASE WHEN s.split <> $pretrain THEN i.class_name END, NULL
FROM samples AS s JOIN (SELECT key, {class_name} AS class_name FROM images) AS i ON i.key = s.key
WHERE s.dataset = $dataset
