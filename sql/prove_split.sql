-- prove_split.sql: one row: usable records without exactly one split, and contents that stand in two splits. Both must
-- be 0 before a split is stored; sql/check_*.sql prove the same, and more, of what is stored.
SELECT abs((SELECT count(*) FROM usable) - (SELECT count(*) FROM assigned)) AS unassigned,
       (SELECT count(*) FROM (
           SELECT shared_content FROM assigned WHERE shared_content IS NOT NULL
           GROUP BY shared_content HAVING min(split) <> max(split)
       ) AS torn) AS torn
