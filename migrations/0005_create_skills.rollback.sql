-- Locks: ACCESS EXCLUSIVE on skills, and on tenants and users, to which it refers.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS skills;
