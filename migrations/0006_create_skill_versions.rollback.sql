-- Locks: ACCESS EXCLUSIVE on skills (briefly) and skill_versions.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore require-concurrent-index-deletion -- the lock is needed for the constraint anyway
DROP INDEX IF EXISTS skills_published_version_idx;

-- squawk-ignore ban-drop-constraint -- it keeps skill_versions from being dropped
ALTER TABLE skills DROP CONSTRAINT IF EXISTS skills_published_version_fk;

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS skill_versions;
