-- create_homonyms.sql: one row is a name at the label's rank with what stands above it in some records, and the name of the
-- class that the two make; class_name NULL: it may be any of several. Only names that stand for several classes.
DROP TABLE IF EXISTS homonyms;

CREATE TEMP TABLE homonyms (
    name VARCHAR, kingdom VARCHAR, phylum VARCHAR, "class" VARCHAR, "order" VARCHAR, family VARCHAR, genus VARCHAR,
    class_name VARCHAR
);
