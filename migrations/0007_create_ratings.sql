-- One rating per user and skill. Their count and sum are kept on skills.
-- Locks: SHARE ROW EXCLUSIVE on tenants, users and skills for the foreign keys; the table is new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS ratings (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    skill_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    rating INTEGER NOT NULL,
    comment TEXT,
    hours_saved_estimate INTEGER,
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    updated_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT ratings_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT ratings_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT ratings_user_fk FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT ratings_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES skills (tenant_id, id) ON DELETE CASCADE,
    -- The user comes first after the tenant: this key also finds the ratings of a user.
    CONSTRAINT ratings_user_skill_key UNIQUE (tenant_id, user_id, skill_id),
    CONSTRAINT ratings_rating_check CHECK (rating BETWEEN 1 AND 5),
    CONSTRAINT ratings_hours_saved_estimate_check CHECK (hours_saved_estimate >= 0)
);

-- list_ratings pages through a skill's ratings, and update_skill_rating sums them. Deleting a skill deletes them.
CREATE INDEX IF NOT EXISTS ratings_skill_updated_idx ON ratings (tenant_id, skill_id, updated_at, id);

COMMENT ON TABLE ratings IS 'The rating of one user for one skill. A new rating replaces the previous one.';
COMMENT ON COLUMN ratings.rating IS '1 (useless) to 5 (excellent).';
COMMENT ON COLUMN ratings.comment IS 'The comment of the user; NULL if there is none.';
COMMENT ON COLUMN ratings.hours_saved_estimate IS 'Hours that one use saves, estimated by the user; NULL if not given.';
COMMENT ON COLUMN ratings.updated_at IS 'When the user last rated.';

ALTER TABLE ratings ENABLE ROW LEVEL SECURITY;
ALTER TABLE ratings FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'ratings' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON ratings AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'ratings' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON ratings AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE ON ratings TO skilldb_app;
GRANT UPDATE (skill_id, rating, comment, hours_saved_estimate, updated_at) ON ratings TO skilldb_app;
