-- create_class_names.sql: what settles the classes at a rank: which spellings are one name, and which names are several classes.
-- class_spellings: one row is a name as records have it, with their number and the spelling that its class has; name NULL:
-- it names no taxon. Only names in several spellings, and those that are none.
-- homonyms: one row is a name at the label's rank with what stands above it in some records, and the name of the class
-- that the two make; class_name NULL: it may be any of several. Only names that stand for several classes.
DROP TABLE IF EXISTS class_spellings;
DROP TABLE IF EXISTS homonyms;

CREATE TEMP TABLE class_spellings (written VARCHAR, name VARCHAR, images BIGINT);

CREATE TEMP TABLE homonyms (
    name VARCHAR, kingdom VARCHAR, phylum VARCHAR, "class" VARCHAR, "order" VARCHAR, family VARCHAR, genus VARCHAR,
    class_name VARCHAR
);
