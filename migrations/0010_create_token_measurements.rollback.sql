-- Locks: ACCESS EXCLUSIVE on token_measurements.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS token_measurements;
