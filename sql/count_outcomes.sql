-- count_outcomes.sql: one row is a dataset and an outcome of its images; the codes are those of shardforge/reasons.py.
SELECT d.name, d.out, o.reason, count(*) AS images
FROM datasets AS d JOIN outcomes AS o ON o.dataset = d.out
GROUP BY d.name, d.out, o.reason
ORDER BY d.name, d.out, images DESC, o.reason;
