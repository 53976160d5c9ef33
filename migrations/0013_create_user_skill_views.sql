-- When each user last viewed a skill, and which version the user saw.
-- Locks: SHARE ROW EXCLUSIVE on tenants, users and skills for the foreign keys; the table is new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS user_skill_views (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    user_id TEXT NOT NULL,
    skill_id TEXT NOT NULL,
    last_viewed_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    last_viewed_version INTEGER,
    view_count BIGINT NOT NULL DEFAULT 1,
    CONSTRAINT user_skill_views_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT user_skill_views_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT user_skill_views_user_fk FOREIGN KEY (tenant_id, user_id)
    REFERENCES users (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT user_skill_views_skill_fk FOREIGN KEY (tenant_id, skill_id)
    REFERENCES skills (tenant_id, id) ON DELETE CASCADE,
    -- The user comes first after the tenant: this key also finds the views of a user.
    CONSTRAINT user_skill_views_user_skill_key UNIQUE (tenant_id, user_id, skill_id),
    CONSTRAINT user_skill_views_last_viewed_version_check CHECK (last_viewed_version >= 1),
    CONSTRAINT user_skill_views_view_count_check CHECK (view_count >= 1)
)
-- A view is updated in place, like the counters of skills. So no index may contain last_viewed_at or view_count.
WITH (fillfactor = 90);

CREATE INDEX IF NOT EXISTS user_skill_views_viewed_skill_idx ON user_skill_views (tenant_id, skill_id);

COMMENT ON TABLE user_skill_views IS 'A user''s last view of a skill, from which what''s new is computed.';
COMMENT ON COLUMN user_skill_views.last_viewed_at IS
'When the user last viewed the skill. It never goes backwards. No index has it: see list_recently_viewed in views.sql.';
COMMENT ON COLUMN user_skill_views.last_viewed_version IS
'The version that the user saw then; NULL if none was published.';
COMMENT ON COLUMN user_skill_views.view_count IS 'How often the user has viewed the skill.';
COMMENT ON INDEX user_skill_views_viewed_skill_idx IS
'For user_skill_views_skill_fk: deleting a skill deletes its views.';

ALTER TABLE user_skill_views ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_skill_views FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'user_skill_views' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON user_skill_views AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'user_skill_views' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON user_skill_views AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE ON user_skill_views TO skilldb_app;
GRANT UPDATE (last_viewed_at, last_viewed_version, view_count) ON user_skill_views TO skilldb_app;
