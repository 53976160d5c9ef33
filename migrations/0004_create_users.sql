-- The people of an organisation.
-- Locks: SHARE ROW EXCLUSIVE on tenants for the foreign key; the table is new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS users (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    email TEXT NOT NULL,
    name TEXT,
    role TEXT NOT NULL DEFAULT 'member',
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    updated_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    deleting_since TIMESTAMPTZ (3),
    CONSTRAINT users_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT users_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT users_email_key UNIQUE (tenant_id, email),
    CONSTRAINT users_role_check CHECK (role IN ('admin', 'member'))
);

-- list_users of one role. An organisation has few admins among many members.
CREATE INDEX IF NOT EXISTS users_role_email_idx ON users (tenant_id, role, email);

-- list_users of those who are being deleted. Hardly any user is in it.
CREATE INDEX IF NOT EXISTS users_deleting_email_idx ON users (tenant_id, email) WHERE deleting_since IS NOT NULL;

COMMENT ON TABLE users IS 'A person of an organisation, who rates, views and uses its skills.';
COMMENT ON COLUMN users.email IS 'Unique within the organisation, compared as written.';
COMMENT ON COLUMN users.name IS 'As shown to others; NULL if unknown.';
COMMENT ON COLUMN users.role IS 'What the person may do in the organisation: admin or member.';

COMMENT ON COLUMN users.deleting_since IS
'When delete_user began to delete the user. Nothing new may name the user from then on. NULL for every other user.';

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'users' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON users AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'users' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON users AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE, UPDATE (email, name, role, updated_at, deleting_since) ON users TO skilldb_app;
