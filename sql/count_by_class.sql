SELECT COALESCE(label, species) AS class, COUNT(*) AS images FROM images WHERE reason IS NULL GROUP BY 1 ORDER BY 2 DESC, 1
