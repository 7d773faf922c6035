-- select_changed.sql: one row is a listed image and its reason so far; those with change $change, numbers $first to $end - 1.
SELECT l.*, c.was
FROM changes AS c JOIN listed AS l ON l.position = c.position
WHERE c.change = $change AND c.number >= $first AND c.number < $end
