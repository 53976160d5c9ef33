-- Locks: ACCESS EXCLUSIVE on users, and on tenants, to which it refers.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS users;
