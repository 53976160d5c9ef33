-- Locks: ACCESS EXCLUSIVE on horizons and tenants.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS horizons;
-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS tenants;
