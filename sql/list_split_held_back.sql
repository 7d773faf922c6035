-- list_split_held_back.sql: the classes of a stratified split that have no record in validation.
SELECT class, count(*) AS images
FROM assigned GROUP BY class HAVING count(CASE WHEN split = 'validation' THEN 1 END) = 0
