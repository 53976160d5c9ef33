-- Where each imported skill comes from, and what the last import of it wrote.
-- Locks: SHARE ROW EXCLUSIVE on tenants and skills for the foreign keys; the table is new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS skill_sources (
    tenant_id TEXT NOT NULL,
    skill_id TEXT NOT NULL,
    source TEXT NOT NULL,
    path TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    imported JSONB NOT NULL,
    commit_hash TEXT,
    committed_at TIMESTAMPTZ (3),
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    imported_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT skill_sources_pkey PRIMARY KEY (tenant_id, skill_id),
    CONSTRAINT skill_sources_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT skill_sources_skill_fk FOREIGN KEY (tenant_id, skill_id)
    REFERENCES skills (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT skill_sources_content_hash_check CHECK (content_hash ~ '^[0-9a-f]{64}$')
);

-- list_imported_skills reads the skills of a source, page by page.
CREATE INDEX IF NOT EXISTS skill_sources_source_idx ON skill_sources (tenant_id, source, created_at, skill_id);

COMMENT ON TABLE skill_sources IS 'Where an imported skill comes from. A skill that nobody imported has no row.';
COMMENT ON COLUMN skill_sources.source IS 'The name of the source: a repository''s address, a folder, or a given name.';
COMMENT ON COLUMN skill_sources.path IS 'The skill''s folder within the source; empty for the source itself.';
COMMENT ON COLUMN skill_sources.content_hash IS 'The content_hash that the source had at the last import that wrote.';
COMMENT ON COLUMN skill_sources.imported IS
'The columns of skills that imports wrote, and their values. What the source has not changed since, people may change.';
COMMENT ON COLUMN skill_sources.commit_hash IS 'The commit of the last import that wrote; NULL without a repository.';
COMMENT ON COLUMN skill_sources.committed_at IS 'The time of that commit.';
COMMENT ON COLUMN skill_sources.created_at IS 'The first import of the skill.';
COMMENT ON COLUMN skill_sources.imported_at IS 'The last import that wrote.';

ALTER TABLE skill_sources ENABLE ROW LEVEL SECURITY;
ALTER TABLE skill_sources FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_sources' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON skill_sources AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_sources' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON skill_sources AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE ON skill_sources TO skilldb_app;
GRANT UPDATE (source, path, content_hash, imported, commit_hash, committed_at, imported_at)
ON skill_sources TO skilldb_app;
