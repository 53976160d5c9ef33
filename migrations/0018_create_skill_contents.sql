-- The files of versions whose content is kept in the database, each once.
-- Locks: SHARE ROW EXCLUSIVE on tenants for the foreign key; the table is new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS skill_contents (
    tenant_id TEXT NOT NULL,
    hash TEXT NOT NULL,
    body TEXT NOT NULL,
    is_binary BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT skill_contents_pkey PRIMARY KEY (tenant_id, hash),
    CONSTRAINT skill_contents_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

COMMENT ON TABLE skill_contents IS
'The files of imported versions, each content once within the organisation. Rows are never changed.';
COMMENT ON COLUMN skill_contents.hash IS
'SHA-256 of the content. The content_hash of a version is that of its manifest, whose lines name its files.';
COMMENT ON COLUMN skill_contents.body IS 'The content: text, or base64 of what is no text.';
COMMENT ON COLUMN skill_contents.is_binary IS 'Whether body is base64.';

ALTER TABLE skill_contents ENABLE ROW LEVEL SECURITY;
ALTER TABLE skill_contents FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_contents' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON skill_contents AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_contents' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON skill_contents AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

-- Immutable: no UPDATE.
GRANT SELECT, INSERT, DELETE ON skill_contents TO skilldb_app;
