-- The token measurements of each day, by skill and model, so that a report reads a few rows and not every measurement.
-- Locks: SHARE ROW EXCLUSIVE on tenants and skills for the foreign keys, and SHARE on token_measurements while its
-- rows are added up, all to the end of the transaction. The table is new. An older version of skilldb does not write
-- rollups: stop it before, or run `skilldb rebuild-rollups` after it has stopped.
SET LOCAL lock_timeout = '5s';

-- First, because a caller takes it before it changes skills.
LOCK TABLE token_measurements IN SHARE MODE;

CREATE TABLE IF NOT EXISTS skill_daily_costs (
    tenant_id TEXT NOT NULL,
    skill_id TEXT NOT NULL,
    day DATE NOT NULL,
    model_name TEXT NOT NULL,
    measurements BIGINT NOT NULL,
    priced_measurements BIGINT NOT NULL,
    cost_microcents BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    total_tokens BIGINT NOT NULL,
    timed_measurements BIGINT NOT NULL,
    latency_ms BIGINT NOT NULL,
    CONSTRAINT skill_daily_costs_pkey PRIMARY KEY (tenant_id, skill_id, day, model_name),
    CONSTRAINT skill_daily_costs_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT skill_daily_costs_skill_fk FOREIGN KEY (tenant_id, skill_id)
    REFERENCES skills (tenant_id, id) ON DELETE CASCADE
)
-- Each measurement updates the row in place, like the counters of skills. So no index may contain a sum.
WITH (fillfactor = 80);

-- find_cost_drift reads one day of all skills.
CREATE INDEX IF NOT EXISTS skill_daily_costs_day_idx ON skill_daily_costs (tenant_id, day);

COMMENT ON TABLE skill_daily_costs IS
'The token measurements of a skill with one model on one day of UTC. Written with the measurement, and exact.';
COMMENT ON COLUMN skill_daily_costs.measurements IS 'Number of measurements.';
COMMENT ON COLUMN skill_daily_costs.priced_measurements IS 'Number of those that have a cost.';
COMMENT ON COLUMN skill_daily_costs.cost_microcents IS 'Sum of their costs in microcents: $1 is 100,000,000.';
COMMENT ON COLUMN skill_daily_costs.input_tokens IS 'Sum of the tokens read, where they were measured.';
COMMENT ON COLUMN skill_daily_costs.output_tokens IS 'Sum of the tokens written, where they were measured.';
COMMENT ON COLUMN skill_daily_costs.total_tokens IS 'Sum of the tokens read and written, where they were measured.';
COMMENT ON COLUMN skill_daily_costs.timed_measurements IS 'Number of the measurements that have a latency.';
COMMENT ON COLUMN skill_daily_costs.latency_ms IS 'Sum of their latencies in milliseconds.';

ALTER TABLE skill_daily_costs ENABLE ROW LEVEL SECURITY;
ALTER TABLE skill_daily_costs FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_daily_costs' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON skill_daily_costs AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_daily_costs' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON skill_daily_costs AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

-- The measurements that are already there, organisation by organisation: CONTRIBUTING.md, "Change rows in a migration".
DO $$
DECLARE
    organisation TEXT;
BEGIN
    FOR organisation IN SELECT t.id FROM tenants AS t ORDER BY t.id LOOP
        PERFORM set_config('app.current_tenant_id', organisation, true), set_config('row_security', 'on', true);

        INSERT INTO skill_daily_costs (
            tenant_id, skill_id, day, model_name, measurements, priced_measurements, cost_microcents,
            input_tokens, output_tokens, total_tokens, timed_measurements, latency_ms
        )
        SELECT
            organisation,
            skill_id,
            (created_at AT TIME ZONE 'UTC')::date,
            model_name,
            count(*),
            count(estimated_cost_microcents),
            coalesce(sum(estimated_cost_microcents), 0),
            coalesce(sum(input_tokens), 0),
            coalesce(sum(output_tokens), 0),
            coalesce(sum(total_tokens), 0),
            count(latency_ms),
            coalesce(sum(latency_ms), 0)
        FROM token_measurements
        WHERE tenant_id = organisation
        GROUP BY skill_id, (created_at AT TIME ZONE 'UTC')::date, model_name;

        PERFORM set_config('row_security', 'off', true);
    END LOOP;
    PERFORM set_config('app.current_tenant_id', '', true);
END
$$;

GRANT SELECT, INSERT, DELETE ON skill_daily_costs TO skilldb_app;
GRANT UPDATE (
    measurements, priced_measurements, cost_microcents, input_tokens, output_tokens, total_tokens,
    timed_measurements, latency_ms
) ON skill_daily_costs TO skilldb_app;
