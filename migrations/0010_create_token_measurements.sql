-- Measurements of what running a skill costs.
-- Locks: SHARE ROW EXCLUSIVE on tenants, users and skills for the foreign keys; the table is new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS token_measurements (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    skill_id TEXT NOT NULL,
    usage_event_id TEXT,
    user_id TEXT,
    input_tokens INTEGER,
    output_tokens INTEGER,
    total_tokens INTEGER,
    model_name TEXT NOT NULL,
    model_provider TEXT NOT NULL DEFAULT 'anthropic',
    estimated_cost_microcents BIGINT,
    latency_ms INTEGER,
    source TEXT NOT NULL DEFAULT 'hook',
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT token_measurements_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT token_measurements_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT token_measurements_user_fk FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id),
    CONSTRAINT token_measurements_skill_fk FOREIGN KEY (tenant_id, skill_id)
    REFERENCES skills (tenant_id, id) ON DELETE CASCADE,
    -- Bounded, so that no few rows can overflow a sum.
    CONSTRAINT token_measurements_input_tokens_check CHECK (input_tokens BETWEEN 0 AND 1000000000),
    CONSTRAINT token_measurements_output_tokens_check CHECK (output_tokens BETWEEN 0 AND 1000000000),
    CONSTRAINT token_measurements_total_tokens_check CHECK (total_tokens BETWEEN 0 AND 1000000000),
    CONSTRAINT token_measurements_estimated_cost_microcents_check CHECK (
        estimated_cost_microcents BETWEEN 0 AND 10000000000000
    ),
    CONSTRAINT token_measurements_latency_ms_check CHECK (latency_ms >= 0)
);

CREATE INDEX IF NOT EXISTS token_measurements_skill_idx ON token_measurements (tenant_id, skill_id);

-- list_measurements reads a page in it. prune_measurements deletes the oldest measurements. find_cost_drift adds up the
-- measurements of a day.
CREATE INDEX IF NOT EXISTS token_measurements_created_idx ON token_measurements (tenant_id, created_at, id);

-- delete_user removes the user from the user's measurements.
CREATE INDEX IF NOT EXISTS token_measurements_user_idx ON token_measurements (tenant_id, user_id)
WHERE user_id IS NOT NULL;

COMMENT ON TABLE token_measurements IS 'The tokens, cost and latency of one run of a skill.';
COMMENT ON COLUMN token_measurements.usage_event_id IS
'The use that it belongs to. No foreign key checks it. NULL if there is none.';
COMMENT ON COLUMN token_measurements.user_id IS 'The user who ran the skill; NULL if unknown or deleted.';
COMMENT ON COLUMN token_measurements.model_name IS
'The model. No index begins with it: get_cost_by_model reads skill_daily_costs, in 0.6 of its time.';
COMMENT ON COLUMN token_measurements.input_tokens IS 'Tokens read; NULL if not measured.';
COMMENT ON COLUMN token_measurements.output_tokens IS 'Tokens written; NULL if not measured.';
COMMENT ON COLUMN token_measurements.total_tokens IS 'Tokens read and written; NULL if not measured.';
COMMENT ON COLUMN token_measurements.estimated_cost_microcents IS
'In microcents, millionths of a cent: $1 is 100,000,000. At most $100,000. NULL for a model without a price.';
COMMENT ON COLUMN token_measurements.latency_ms IS 'Milliseconds from request to answer; NULL if not measured.';
COMMENT ON COLUMN token_measurements.source IS 'Where the measurement came from: hook, api, ...';

COMMENT ON INDEX token_measurements_skill_idx IS
'For token_measurements_skill_fk: deleting a skill deletes its measurements.';

ALTER TABLE token_measurements ENABLE ROW LEVEL SECURITY;
ALTER TABLE token_measurements FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'token_measurements' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON token_measurements AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'token_measurements' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON token_measurements AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE, UPDATE (skill_id, user_id) ON token_measurements TO skilldb_app;
