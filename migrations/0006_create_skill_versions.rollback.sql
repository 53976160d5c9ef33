-- Locks: ACCESS EXCLUSIVE on skills (briefly) and skill_versions.
SET LOCAL lock_timeout = '5s';

DROP INDEX IF EXISTS skills_published_version_idx;

ALTER TABLE skills DROP CONSTRAINT IF EXISTS skills_published_version_fk;

DROP TABLE IF EXISTS skill_versions;
