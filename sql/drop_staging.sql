-- drop_staging.sql: the opposite of create_staging.sql; also after a scan that stopped half-way.
DROP TABLE IF EXISTS listed;
DROP TABLE IF EXISTS changes;
DROP TABLE IF EXISTS vanished;
DROP TABLE IF EXISTS spelled;
DROP TABLE IF EXISTS repeated;
DROP TABLE IF EXISTS repetitions;
DROP TABLE IF EXISTS torn;
DROP TABLE IF EXISTS replaced;
