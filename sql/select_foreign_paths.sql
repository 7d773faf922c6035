-- select_foreign_paths.sql: one row is how many listed images are not there because their paths are URLs, how many because they
-- name a disk or a server as Windows does (paths stand there with each backslash doubled), and an example of each.
SELECT count(CASE WHEN kind = 'url' THEN 1 END) AS urls, min(CASE WHEN kind = 'url' THEN path END) AS url,
       count(CASE WHEN kind = 'disk' THEN 1 END) AS disks, min(CASE WHEN kind = 'disk' THEN path END) AS disk
FROM (
    SELECT path,
           CASE WHEN substr(path, 2, 2) IN (':\', ':/') OR substr(path, 1, 4) = '\\\\' THEN 'disk'
                WHEN instr(path, '://') > 1 AND instr(path, '://') < 12 THEN 'url' END AS kind
    FROM listed WHERE reason = 'vanished'
) AS named
