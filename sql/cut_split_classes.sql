-- cut_split_classes.sql: where to cut each class so that the records before the cut are as close to the asked share as
-- whole groups allow, ties to fewer; at least one group always stays behind the cut, in train.
-- Reads placed and asked(split, numerator, denominator), the cumulated shares; fills cuts(class, validation, test, images): images in validation.

-- Only the bucket in which a cut falls is looked at record by record, so that nothing large is sorted.
CREATE TEMP TABLE buckets AS
SELECT class, substr(position, 1, 2) AS bucket, count(*) AS images FROM placed GROUP BY 1, 2;

CREATE TEMP TABLE cut_buckets AS
SELECT a.split, a.numerator, a.denominator, r.class, r.bucket, r.below, r.total
FROM (
    SELECT class, bucket, images,
           sum(images) OVER (PARTITION BY class ORDER BY bucket) - images AS below,
           sum(images) OVER (PARTITION BY class) AS total
    FROM buckets
) AS r
JOIN asked AS a ON r.below * a.denominator < a.numerator * r.total
               AND (r.below + r.images) * a.denominator >= a.numerator * r.total;

INSERT INTO cuts
WITH positions AS (
    SELECT c.split, c.numerator, c.denominator, c.class, c.below, c.total, p.position, count(*) AS images
    FROM placed AS p JOIN cut_buckets AS c ON c.class = p.class AND c.bucket = substr(p.position, 1, 2)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
), candidates AS (
    -- Text order: a bucket's two digits stand before all its positions, POSITION0 stands right after POSITION.
    SELECT split, numerator, denominator, class, bucket AS cut, below AS held, total FROM cut_buckets
    UNION ALL
    SELECT split, numerator, denominator, class, position || '0',
           below + sum(images) OVER (PARTITION BY split, class ORDER BY position), total
    FROM positions
), ranked AS (
    SELECT split, class, cut, held,
           row_number() OVER (
               PARTITION BY split, class ORDER BY abs(held * denominator - numerator * total), held
           ) AS place
    FROM candidates WHERE held < total
)
SELECT class, coalesce(max(CASE WHEN split = 'validation' THEN cut END), ''),
       max(CASE WHEN split = 'test' THEN cut END), coalesce(max(CASE WHEN split = 'validation' THEN held END), 0)
FROM ranked WHERE place = 1 GROUP BY class;
