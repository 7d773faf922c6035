-- select_changed.sql: one row is a listed image; those with change $change, numbers $first to $end - 1.
SELECT l.*
FROM changes AS c JOIN listed AS l ON l.position = c.position
WHERE c.change = $change AND c.number >= $first AND c.number < $end
