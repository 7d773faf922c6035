-- drop_split_scratch.sql: forget the temporary views and tables of a split that was computed on this connection.
DROP VIEW IF EXISTS assigned;
DROP VIEW IF EXISTS usable;
DROP TABLE IF EXISTS entries;
DROP TABLE IF EXISTS matches;
DROP TABLE IF EXISTS shared;
DROP TABLE IF EXISTS merged;
DROP TABLE IF EXISTS links;
DROP TABLE IF EXISTS spread;
DROP TABLE IF EXISTS placed;
DROP TABLE IF EXISTS majority;
DROP TABLE IF EXISTS asked;
DROP TABLE IF EXISTS buckets;
DROP TABLE IF EXISTS cut_buckets;
DROP TABLE IF EXISTS cuts;
