-- The organisations, and the horizon of each. The id of an organisation is the tenant it belongs to.
-- Locks: none, the tables are new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS tenants (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT true,
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    updated_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    CONSTRAINT tenants_slug_key UNIQUE (slug),
    -- A finished transaction leaves each of the two settings as the empty string, not NULL.
    CONSTRAINT tenants_id_check CHECK (id <> ''),
    CONSTRAINT tenants_slug_check CHECK (slug <> '')
);

COMMENT ON TABLE tenants IS 'An organisation. Its id is the value of app.current_tenant_id that shows its rows.';
COMMENT ON COLUMN tenants.slug IS 'Short name for URLs, unique among all organisations.';
COMMENT ON COLUMN tenants.is_active IS 'False if the organisation is switched off. Its rows are kept.';

-- The only table without FORCE: the owner lists the tenants for maintenance.
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;

-- find_tenant names a slug in place of a tenant, and then reads the row of that slug. Only policies for SELECT compare
-- the slug. On the workers of a Citus cluster every policy is permissive: no other command may gain the row there.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'tenants' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON tenants AS RESTRICTIVE FOR SELECT
        USING (
            id = current_setting('app.current_tenant_id', true)
            OR slug = current_setting('app.current_tenant_slug', true)
        );
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'tenants' AND policyname = 'tenant_isolation_insert'
    ) THEN
        CREATE POLICY tenant_isolation_insert ON tenants AS RESTRICTIVE FOR INSERT
        WITH CHECK (id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'tenants' AND policyname = 'tenant_isolation_update'
    ) THEN
        CREATE POLICY tenant_isolation_update ON tenants AS RESTRICTIVE FOR UPDATE
        USING (id = current_setting('app.current_tenant_id', true))
        WITH CHECK (id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'tenants' AND policyname = 'tenant_isolation_delete'
    ) THEN
        CREATE POLICY tenant_isolation_delete ON tenants AS RESTRICTIVE FOR DELETE
        USING (id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'tenants' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON tenants AS PERMISSIVE FOR ALL
        USING (id = current_setting('app.current_tenant_id', true))
        WITH CHECK (id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'tenants' AND policyname = 'tenant_by_slug'
    ) THEN
        CREATE POLICY tenant_by_slug ON tenants AS PERMISSIVE FOR SELECT
        USING (slug = current_setting('app.current_tenant_slug', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE ON tenants TO skilldb_app;
GRANT UPDATE (name, slug, is_active, updated_at) ON tenants TO skilldb_app;

CREATE TABLE IF NOT EXISTS horizons (
    tenant_id TEXT NOT NULL,
    events_kept_from DATE,
    measurements_kept_from DATE,
    CONSTRAINT horizons_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT horizons_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

COMMENT ON TABLE horizons IS
'The horizon of an organisation, and the row that a fold or a repair locks. It is no part of tenants: on a Citus cluster
a row lock in that table would lock all organisations. Without a row nothing was ever pruned; prepare_horizon adds it.';
COMMENT ON COLUMN horizons.events_kept_from IS
'The horizon of usage_events, a day of UTC: earlier events may have been pruned. NULL if none ever were.';
COMMENT ON COLUMN horizons.measurements_kept_from IS
'The horizon of token_measurements, likewise.';

ALTER TABLE horizons ENABLE ROW LEVEL SECURITY;
ALTER TABLE horizons FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'horizons' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON horizons AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'horizons' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON horizons AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE ON horizons TO skilldb_app;
GRANT UPDATE (events_kept_from, measurements_kept_from) ON horizons TO skilldb_app;
