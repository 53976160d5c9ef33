-- Benchmark runs, which compare models on a skill, and their results.
-- Locks: SHARE ROW EXCLUSIVE on tenants, users, skills and skill_versions for the foreign keys; the tables are new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS benchmark_runs (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    skill_id TEXT NOT NULL,
    skill_version_id TEXT,
    triggered_by TEXT,
    status TEXT NOT NULL DEFAULT 'pending',
    worker TEXT,
    models TEXT[] NOT NULL,
    best_model TEXT,
    best_quality_score INTEGER,
    cheapest_model TEXT,
    cheapest_cost_microcents BIGINT,
    started_at TIMESTAMPTZ (3),
    completed_at TIMESTAMPTZ (3),
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT benchmark_runs_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT benchmark_runs_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT benchmark_runs_triggered_by_fk FOREIGN KEY (tenant_id, triggered_by) REFERENCES users (tenant_id, id),
    CONSTRAINT benchmark_runs_skill_fk FOREIGN KEY (tenant_id, skill_id)
    REFERENCES skills (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT benchmark_runs_skill_version_fk FOREIGN KEY (tenant_id, skill_version_id)
    REFERENCES skill_versions (tenant_id, id),
    CONSTRAINT benchmark_runs_status_check CHECK (status IN ('pending', 'running', 'completed', 'failed')),
    CONSTRAINT benchmark_runs_models_check CHECK (array_position(models, NULL) IS NULL),
    CONSTRAINT benchmark_runs_best_quality_score_check CHECK (best_quality_score BETWEEN 0 AND 100),
    CONSTRAINT benchmark_runs_cheapest_cost_microcents_check CHECK (cheapest_cost_microcents >= 0)
);

-- get_latest_benchmark_run takes the newest run of a skill. Deleting a skill deletes its runs.
CREATE INDEX IF NOT EXISTS benchmark_runs_skill_created_idx ON benchmark_runs (tenant_id, skill_id, created_at, id);

-- claim_benchmark_run takes the oldest pending run. requeue_stale_runs reads the running ones, and
-- get_model_leaderboard the completed ones. list_benchmark_runs merges one range of this index for each status.
CREATE INDEX IF NOT EXISTS benchmark_runs_status_idx ON benchmark_runs (tenant_id, status, created_at, id);

CREATE INDEX IF NOT EXISTS benchmark_runs_triggered_by_idx ON benchmark_runs (tenant_id, triggered_by)
WHERE triggered_by IS NOT NULL;
CREATE INDEX IF NOT EXISTS benchmark_runs_skill_version_idx ON benchmark_runs (tenant_id, skill_version_id)
WHERE skill_version_id IS NOT NULL;

COMMENT ON TABLE benchmark_runs IS 'One comparison of models on a skill.';
COMMENT ON COLUMN benchmark_runs.skill_version_id IS 'The version that was tested; NULL if the run names none.';
COMMENT ON COLUMN benchmark_runs.triggered_by IS
'The user who started it, or who succeeded that user; NULL if deleted.';
COMMENT ON COLUMN benchmark_runs.status IS 'pending, running, completed or failed.';
COMMENT ON COLUMN benchmark_runs.worker IS
'The name of the worker that claimed it last; NULL if it is pending, or was started without a name.';
COMMENT ON COLUMN benchmark_runs.models IS 'The names of the models to compare.';
COMMENT ON COLUMN benchmark_runs.best_model IS
'The model with the highest mean quality; NULL if no result has a quality.';
COMMENT ON COLUMN benchmark_runs.best_quality_score IS 'Its mean quality, 0 to 100, rounded half up.';
COMMENT ON COLUMN benchmark_runs.cheapest_model IS 'The model with the lowest mean cost; NULL if no result has a cost.';
COMMENT ON COLUMN benchmark_runs.cheapest_cost_microcents IS
'Its mean cost per test case in microcents: $1 is 100,000,000.';
COMMENT ON COLUMN benchmark_runs.started_at IS 'When it started to run; NULL before that.';
COMMENT ON COLUMN benchmark_runs.completed_at IS 'When it completed or failed; NULL before that.';
COMMENT ON INDEX benchmark_runs_triggered_by_idx IS
'For benchmark_runs_triggered_by_fk: deleting a user passes on the runs that the user triggered.';
COMMENT ON INDEX benchmark_runs_skill_version_idx IS
'For benchmark_runs_skill_version_fk: deleting a version, with its skill, checks whether a run refers to it.';

CREATE TABLE IF NOT EXISTS benchmark_results (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    benchmark_run_id TEXT NOT NULL,
    model_name TEXT NOT NULL,
    model_provider TEXT NOT NULL,
    test_case_index INTEGER NOT NULL,
    input_used TEXT,
    output_produced TEXT,
    expected_output TEXT,
    input_tokens INTEGER,
    output_tokens INTEGER,
    total_tokens INTEGER,
    latency_ms INTEGER,
    estimated_cost_microcents BIGINT,
    quality_score INTEGER,
    quality_notes TEXT,
    matches_expected BOOLEAN,
    error_message TEXT,
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT benchmark_results_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT benchmark_results_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT benchmark_results_run_fk FOREIGN KEY (tenant_id, benchmark_run_id)
    REFERENCES benchmark_runs (tenant_id, id) ON DELETE CASCADE,
    -- The run comes first after the tenant: this key also finds the results of a run.
    CONSTRAINT benchmark_results_case_key UNIQUE (tenant_id, benchmark_run_id, model_name, test_case_index),
    CONSTRAINT benchmark_results_test_case_index_check CHECK (test_case_index >= 0),
    -- Bounded, so that no few rows can overflow a sum.
    CONSTRAINT benchmark_results_input_tokens_check CHECK (input_tokens BETWEEN 0 AND 1000000000),
    CONSTRAINT benchmark_results_output_tokens_check CHECK (output_tokens BETWEEN 0 AND 1000000000),
    CONSTRAINT benchmark_results_total_tokens_check CHECK (total_tokens BETWEEN 0 AND 1000000000),
    CONSTRAINT benchmark_results_latency_ms_check CHECK (latency_ms >= 0),
    CONSTRAINT benchmark_results_estimated_cost_microcents_check CHECK (
        estimated_cost_microcents BETWEEN 0 AND 10000000000000
    ),
    CONSTRAINT benchmark_results_quality_score_check CHECK (quality_score BETWEEN 0 AND 100)
);

COMMENT ON TABLE benchmark_results IS 'The result of one model for one test case of a run.';
COMMENT ON COLUMN benchmark_results.test_case_index IS 'Counts from 0 within the run.';
COMMENT ON COLUMN benchmark_results.input_tokens IS 'Tokens read; NULL if not measured.';
COMMENT ON COLUMN benchmark_results.output_tokens IS 'Tokens written; NULL if not measured.';
COMMENT ON COLUMN benchmark_results.total_tokens IS 'Tokens read and written; NULL if not measured.';
COMMENT ON COLUMN benchmark_results.latency_ms IS 'Milliseconds from request to answer; NULL if not measured.';
COMMENT ON COLUMN benchmark_results.estimated_cost_microcents IS
'In microcents, millionths of a cent: $1 is 100,000,000. At most $100,000. NULL for a model without a price.';
COMMENT ON COLUMN benchmark_results.quality_score IS '0 to 100; NULL if not judged.';
COMMENT ON COLUMN benchmark_results.matches_expected IS 'Whether the output is the expected one; NULL if not judged.';
COMMENT ON COLUMN benchmark_results.error_message IS 'Why the model gave no output; NULL if it gave one.';

ALTER TABLE benchmark_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE benchmark_runs FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'benchmark_runs' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON benchmark_runs AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'benchmark_runs' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON benchmark_runs AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

ALTER TABLE benchmark_results ENABLE ROW LEVEL SECURITY;
ALTER TABLE benchmark_results FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'benchmark_results' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON benchmark_results AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'benchmark_results' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON benchmark_results AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE ON benchmark_runs TO skilldb_app;
GRANT UPDATE (
    triggered_by, status, worker, best_model, best_quality_score, cheapest_model, cheapest_cost_microcents, started_at,
    completed_at
) ON benchmark_runs TO skilldb_app;

GRANT SELECT, INSERT, DELETE ON benchmark_results TO skilldb_app;
GRANT UPDATE (
    model_provider, input_used, output_produced, expected_output,
    input_tokens, output_tokens, total_tokens, latency_ms, estimated_cost_microcents,
    quality_score, quality_notes, matches_expected, error_message
) ON benchmark_results TO skilldb_app;
