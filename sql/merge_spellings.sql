-- merge_spellings.sql: give planned records and the paths above names the spelling that the class has; none to names of none.
-- Reads class_spellings; changes planned and class_paths.
CREATE INDEX class_spelling_written ON class_spellings (written);

UPDATE class_paths SET name = (SELECT s.name FROM class_spellings AS s WHERE s.written = class_paths.name)
WHERE name IN (SELECT written FROM class_spellings WHERE name IS NULL OR name <> written);

UPDATE planned SET reason = 'no_label' WHERE class_name IN (SELECT written FROM class_spellings WHERE name IS NULL);

UPDATE planned SET class_name = (SELECT s.name FROM class_spellings AS s WHERE s.written = planned.class_name)
WHERE class_name IN (SELECT written FROM class_spellings WHERE name IS NULL OR name <> written);
