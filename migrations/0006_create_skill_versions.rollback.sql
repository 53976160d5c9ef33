-- Locks: ACCESS EXCLUSIVE on skill_versions and skills, and on tenants and users, to which they refer; all briefly.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore require-concurrent-index-deletion -- the lock is needed for the constraint anyway
DROP INDEX IF EXISTS skills_published_version_idx;

-- squawk-ignore ban-drop-constraint -- it keeps skill_versions from being dropped
ALTER TABLE skills DROP CONSTRAINT IF EXISTS skills_published_version_fk;

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS skill_versions;

-- The versions are gone: no skill refers to one any more. Otherwise the migration could not add the foreign key
-- again.
-- Organisation by organisation, with the tenant setting: a role that is subject to the policies would otherwise see no
-- row.
DO $$
DECLARE
    organisation TEXT;
BEGIN
    FOR organisation IN SELECT t.id FROM tenants AS t ORDER BY t.id LOOP
        PERFORM set_config('app.current_tenant_id', organisation, true), set_config('row_security', 'on', true);

        UPDATE skills
        SET
            published_version_id = NULL,
            published_version = NULL
        WHERE tenant_id = organisation AND published_version_id IS NOT NULL;
        PERFORM set_config('row_security', 'off', true);
    END LOOP;
    PERFORM set_config('app.current_tenant_id', '', true);
END
$$;
