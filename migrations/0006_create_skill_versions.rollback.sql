-- Locks: ACCESS EXCLUSIVE on skill_versions and skills, and on tenants and users, to which they refer; all briefly.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore require-concurrent-index-deletion -- the lock is needed for the constraint anyway
DROP INDEX IF EXISTS skills_published_version_idx;

-- squawk-ignore ban-drop-constraint -- it keeps skill_versions from being dropped
ALTER TABLE skills DROP CONSTRAINT IF EXISTS skills_published_version_fk;

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS skill_versions;
