-- create_duplicates.sql: the tables of `shardforge duplicates`, beside those of schema.sql; made when they are first needed.

-- One row: a content with its perceptual hash (pHash of 256 bits, 64 hex digits) and the hash's quality, 0 to 100; or
-- with the reason why there is none.
CREATE TABLE IF NOT EXISTS perceptual_hashes (
    content_hash VARCHAR NOT NULL,
    hash VARCHAR,
    quality INTEGER,
    reason VARCHAR
);

-- One row: a content that is near another one. `cluster` is the smallest content_hash of its cluster.
CREATE TABLE IF NOT EXISTS near_duplicates (
    content_hash VARCHAR NOT NULL,
    cluster VARCHAR NOT NULL
);

-- One row: the search that filled near_duplicates.
CREATE TABLE IF NOT EXISTS near_duplicate_searches (
    distance INTEGER NOT NULL,
    min_quality INTEGER NOT NULL,
    searched_at VARCHAR NOT NULL,
    tool_version VARCHAR NOT NULL
);
