-- select_near_names.sql: names in the mapping that may be meant by one that is not there: those that begin alike or end in
-- the same word. Reads known_names(value, name). $name: as compared; $start, $end: its first letters, its last word.
SELECT name, min(value) FROM known_names
WHERE substr(name, 1, 3) = $start OR substr(name, -length($end)) = $end
GROUP BY name
ORDER BY abs(length(name) - length($name)), name
LIMIT $most
