-- find_repeated.sql: which listed rows are of one path, spelled in one way or several. Reads listed and spelled.
-- {identities}: the query for the identity of every listed row: its key, or that of the plain spelling of its path.
-- repeated: one row is an identity that several listed rows have.
CREATE TEMP TABLE repeated AS
SELECT identity FROM ({identities}) AS named GROUP BY identity HAVING count(*) > 1;

-- repetitions: one row is such a row, numbered among its own; the plainly spelled ones come first.
CREATE TEMP TABLE repetitions AS
SELECT l.position, coalesce(s.identity, l.key) AS identity,
       row_number() OVER (
           PARTITION BY coalesce(s.identity, l.key) ORDER BY CASE WHEN s.identity IS NULL THEN 0 ELSE 1 END, l.position
       ) AS place
FROM listed AS l LEFT JOIN spelled AS s ON s.position = l.position
WHERE coalesce(s.identity, l.key) IN (SELECT identity FROM repeated);
