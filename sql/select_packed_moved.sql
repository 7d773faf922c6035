-- select_packed_moved.sql: how many keys stand in another split of the run $run than in the shards. Subsets, and the
-- split pretrain, which `shardforge write` may fill itself, are not compared.
-- Reads the temporary table packed(key, split, shard, position).
SELECT count(*) FROM packed AS p JOIN splits AS s ON s.key = p.key
WHERE s.name = $run AND s.split <> p.split AND p.split <> 'pretrain'
  AND p.split IN (SELECT split FROM splits WHERE name = $run)
