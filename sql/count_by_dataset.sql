-- count_by_dataset.sql: one row is a split of a written dataset, with its shards, the samples in them and their bytes.
SELECT d.name, d.out, s.split, count(*) AS shards, CAST(sum(s.samples) AS BIGINT) AS samples,
       CAST(sum(s.bytes) AS BIGINT) AS bytes
FROM datasets AS d JOIN shards AS s ON s.dataset = d.out
GROUP BY d.name, d.out, s.split
ORDER BY d.name, d.out, samples DESC, s.split;
