-- leakage_by_near_duplicates.sql: clusters of near duplicates that stand in two splits of a run, with the images on each
-- side. Needs `shardforge duplicates` first. No rows for a run made with --group-near-duplicates after it: good.
SELECT s.name, n.cluster, count(CASE WHEN s.split = 'train' THEN 1 END) AS train_images,
       count(CASE WHEN s.split <> 'train' THEN 1 END) AS held_out_images
FROM near_duplicates AS n
JOIN images AS i ON i.content_hash = n.content_hash
JOIN splits AS s ON s.key = i.key
GROUP BY s.name, n.cluster HAVING min(s.split) <> max(s.split)
ORDER BY s.name, n.cluster;
