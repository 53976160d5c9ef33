-- Every use of a skill or tool. Its count is kept on skills.
-- Locks: SHARE ROW EXCLUSIVE on tenants, users and skills for the foreign keys; the table is new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS usage_events (
    tenant_id TEXT NOT NULL,
    id UUID NOT NULL DEFAULT gen_random_uuid(),
    tool_name TEXT NOT NULL,
    skill_id TEXT,
    user_id TEXT,
    metadata JSONB,
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT usage_events_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT usage_events_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT usage_events_user_fk FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id),
    CONSTRAINT usage_events_skill_fk FOREIGN KEY (tenant_id, skill_id)
    REFERENCES skills (tenant_id, id) ON DELETE CASCADE
);

-- count_skill_users reads the events of a skill on some days in it, and their users.
CREATE INDEX IF NOT EXISTS usage_events_skill_idx ON usage_events (tenant_id, skill_id, created_at) INCLUDE (user_id)
WHERE skill_id IS NOT NULL;

-- list_usage_events reads a page in it. prune_events deletes the oldest events. find_use_drift counts those of a day.
CREATE INDEX IF NOT EXISTS usage_events_created_idx ON usage_events (tenant_id, created_at, id);

-- delete_user removes the user from the user's events.
CREATE INDEX IF NOT EXISTS usage_events_user_idx ON usage_events (tenant_id, user_id) WHERE user_id IS NOT NULL;

COMMENT ON TABLE usage_events IS 'One use of a skill or tool.';
COMMENT ON COLUMN usage_events.id IS 'The caller may choose it. Recording the same id again changes nothing.';
COMMENT ON COLUMN usage_events.skill_id IS 'The skill that was used; NULL if a tool was used without a skill.';
COMMENT ON COLUMN usage_events.user_id IS 'The user; NULL if unknown or deleted.';
COMMENT ON COLUMN usage_events.metadata IS 'Further data from the caller as JSON; NULL if none was given.';
COMMENT ON COLUMN usage_events.created_at IS 'When it was used; the caller may give an earlier time.';

COMMENT ON INDEX usage_events_skill_idx IS 'For usage_events_skill_fk: deleting a skill deletes its events.';

ALTER TABLE usage_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_events FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'usage_events' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON usage_events AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'usage_events' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON usage_events AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE, UPDATE (skill_id, user_id) ON usage_events TO skilldb_app;
