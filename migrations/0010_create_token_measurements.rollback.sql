-- Locks: ACCESS EXCLUSIVE on token_measurements.
SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS token_measurements;
