-- The versions of a skill, whose content is never changed, and the foreign key from a skill to its published version.
-- Locks: SHARE ROW EXCLUSIVE on tenants and users for the foreign keys, ACCESS EXCLUSIVE on skills for NO FORCE, to the
-- end of the transaction.
-- Adding skills_published_version_fk reads skills once. No skill refers to a version yet, so the key needs no separate
-- VALIDATE.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS skill_versions (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    skill_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    content_url TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    content_type TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    metadata JSONB,
    created_by TEXT,
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT skill_versions_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT skill_versions_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT skill_versions_skill_fk FOREIGN KEY (tenant_id, skill_id)
    REFERENCES skills (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT skill_versions_created_by_fk FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id),
    CONSTRAINT skill_versions_version_key UNIQUE (tenant_id, skill_id, version),
    CONSTRAINT skill_versions_version_check CHECK (version >= 1),
    CONSTRAINT skill_versions_content_hash_check CHECK (content_hash ~ '^[0-9a-f]{64}$')
);

CREATE INDEX IF NOT EXISTS skill_versions_created_by_idx ON skill_versions (tenant_id, created_by)
WHERE created_by IS NOT NULL;

COMMENT ON TABLE skill_versions IS
'A published version of a skill. Only created_by may change, when that user is deleted.';
COMMENT ON COLUMN skill_versions.version IS 'Counts from 1 within the skill, without gaps.';
COMMENT ON COLUMN skill_versions.content_url IS 'Where the content is stored; skilldb does not read it.';
COMMENT ON COLUMN skill_versions.content_hash IS 'SHA-256 of the content, 64 lower-case hexadecimal digits.';
COMMENT ON COLUMN skill_versions.content_type IS 'MIME type of the content.';
COMMENT ON COLUMN skill_versions.name IS 'The name of the skill in this version.';
COMMENT ON COLUMN skill_versions.description IS 'The description of the skill in this version.';
COMMENT ON COLUMN skill_versions.metadata IS 'Further data from the publisher as JSON; NULL if none was given.';
COMMENT ON COLUMN skill_versions.created_by IS
'The user who published it, or who succeeded that user; NULL if unknown or deleted.';
COMMENT ON INDEX skill_versions_created_by_idx IS
'For skill_versions_created_by_fk: deleting a user passes on the versions that the user published.';

ALTER TABLE skill_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE skill_versions FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_versions' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON skill_versions AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_versions' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON skill_versions AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

-- Immutable: no DELETE, and UPDATE only for delete_user, which passes a version on to the user's successor. The foreign
-- key deletes versions with their skill.
GRANT SELECT, INSERT, UPDATE (created_by) ON skill_versions TO skilldb_app;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_constraint
        WHERE conname = 'skills_published_version_fk' AND conrelid = 'skills'::REGCLASS
    ) THEN
        -- PostgreSQL validates a foreign key with a query, to which the policies apply: an owner without BYPASSRLS would
        -- be refused. Until the end of this transaction nobody else sees the tables without FORCE.
        ALTER TABLE skills NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE skill_versions NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE skills ADD CONSTRAINT skills_published_version_fk
        FOREIGN KEY (tenant_id, published_version_id) REFERENCES skill_versions (tenant_id, id);
        ALTER TABLE skill_versions FORCE ROW LEVEL SECURITY;
        ALTER TABLE skills FORCE ROW LEVEL SECURITY;
    END IF;
END
$$;

-- squawk-ignore require-concurrent-index-creation -- adding the circular key above already blocks writers
CREATE INDEX IF NOT EXISTS skills_published_version_idx ON skills (tenant_id, published_version_id)
WHERE published_version_id IS NOT NULL;

COMMENT ON INDEX skills_published_version_idx IS
'For skills_published_version_fk: deleting a version, with its skill, checks whether a skill refers to it.';
