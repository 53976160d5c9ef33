-- Locks: ACCESS EXCLUSIVE on skill_contents, and on tenants, to which it refers.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS skill_contents;
