-- Locks: ACCESS EXCLUSIVE on ratings, and on tenants, users and skills, to which it refers.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS ratings;
