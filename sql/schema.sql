-- The tables of a mapping, for DuckDB and SQLite alike. Version: SCHEMA_VERSION in shardforge/mapping/base.py.
-- There are no PRIMARY KEY and UNIQUE constraints: in DuckDB they make loading 10^7 rows many times slower. That a key
-- stands in a table once is the work of `shardforge map` and proven by sql/check_*.sql.

-- One row: which program made this file.
CREATE TABLE mapping_info (
    schema_version INTEGER NOT NULL,
    tool_version VARCHAR NOT NULL
);

-- One row: a scanned source. `root` is the folder that its paths start from, `file` the list, table or tar that names its
-- images (NULL for a folder), `options` a JSON object; `metadata_file` is the table joined to it on `metadata_column`;
-- `names` is a JSON object that says which files of names were applied (NULL for none);
-- `scanned_at` is UTC, when a scan last changed something.
CREATE TABLE sources (
    name VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    root VARCHAR NOT NULL,
    file VARCHAR,
    options VARCHAR NOT NULL,
    metadata_file VARCHAR,
    metadata_column VARCHAR,
    names VARCHAR,
    scanned_at VARCHAR NOT NULL,
    tool_version VARCHAR NOT NULL
);

-- One row: an image as listed and scanned. `reason` is NULL when it is usable; `offset` is the first byte of an image
-- inside a tar; `bytes` is its size; `mtime` is in ns; width and height are pixels as stored, before EXIF orientation;
-- `content_hash` is the first 32 hex digits of the SHA-256 of the bytes; `metadata` is a JSON object.
CREATE TABLE images (
    key VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    "offset" BIGINT,
    bytes BIGINT,
    mtime BIGINT,
    label VARCHAR,
    group_id VARCHAR,
    kingdom VARCHAR,
    phylum VARCHAR,
    "class" VARCHAR,
    "order" VARCHAR,
    family VARCHAR,
    genus VARCHAR,
    species VARCHAR,
    common_name VARCHAR,
    license VARCHAR,
    author VARCHAR,
    url VARCHAR,
    metadata VARCHAR,
    reason VARCHAR,
    width INTEGER,
    height INTEGER,
    format VARCHAR,
    orientation INTEGER,
    content_hash VARCHAR
);

-- One row: a note on a record, in words: what is wrong with it, or odd about it. `dataset` is as in datasets.out, or NULL
-- for what was found while mapping. Mappings of before 0.2.0 have no such table and get it when they are next written.
CREATE TABLE notes (
    dataset VARCHAR,
    key VARCHAR NOT NULL,
    note VARCHAR NOT NULL
);

-- One row: a key, or a taxon at any rank, that a list keeps out.
CREATE TABLE exclusions (
    list VARCHAR NOT NULL,
    key VARCHAR,
    taxon VARCHAR,
    reason VARCHAR
);

-- One row: a split that was made. `rule` is hash, exact or stratified; `parameters` is a JSON object.
CREATE TABLE split_runs (
    name VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    rule VARCHAR NOT NULL,
    parameters VARCHAR NOT NULL,
    created_at VARCHAR NOT NULL,
    tool_version VARCHAR NOT NULL
);

-- One row: a key's place in a split run. `subset` is the smallest nested subset that holds it, or NULL; `group_id` is its
-- group in a run that groups by a column or by near duplicates, NULL in others, whose groups are contents.
CREATE TABLE splits (
    name VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    subset VARCHAR,
    group_id VARCHAR
);

-- One row: a dataset written from this mapping.
CREATE TABLE datasets (
    name VARCHAR NOT NULL,
    out VARCHAR NOT NULL,
    options VARCHAR NOT NULL,
    plan_sha256 VARCHAR NOT NULL,
    written_at VARCHAR NOT NULL,
    tool_version VARCHAR NOT NULL
);

-- One row: one tar of a dataset.
CREATE TABLE shards (
    dataset VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    shard INTEGER NOT NULL,
    filename VARCHAR NOT NULL,
    samples BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 VARCHAR NOT NULL
);

-- One row: where a key landed in a dataset.
CREATE TABLE samples (
    dataset VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    shard INTEGER NOT NULL,
    position INTEGER NOT NULL
);

-- One row: what became of a key in a dataset: ok, or a reason code of shardforge/reasons.py.
CREATE TABLE outcomes (
    dataset VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    reason VARCHAR NOT NULL
);
