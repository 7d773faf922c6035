-- move_unlabelled.sql: put what is planned for train, or a subset of it, and has no class into the split pretrain, once each.
-- {train}: the names of train and its subsets, quoted. Changes planned.
CREATE TEMP TABLE moved AS
SELECT DISTINCT key, reason FROM planned WHERE class_name IS NULL AND split IN ({train});

DELETE FROM planned WHERE class_name IS NULL AND split IN ({train});
INSERT INTO planned SELECT 'pretrain', key, CAST(NULL AS VARCHAR), reason FROM moved;
DROP TABLE moved;
