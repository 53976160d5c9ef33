-- transactional: false
-- squawk-disable-assume-in-transaction
-- Indexes that begin with the tenant in place of those that cannot find one organisation's rows: on skill_id, status or
-- created_at alone they lead to every organisation's rows, and the planner preferred them to the indexes that do not.
-- Locks: SHARE UPDATE EXCLUSIVE on each table in turn, which readers and writers do not notice; hence CONCURRENTLY,
-- which no transaction allows, and a long lock_timeout: nobody queues behind this wait. Whatever stops this half-way
-- leaves an invalid index, which IF NOT EXISTS would take for the real one: each is dropped before it is built.
SET lock_timeout = '5min';

DROP INDEX CONCURRENTLY IF EXISTS benchmark_runs_skill_created_idx;

-- get_latest_benchmark_run takes the newest of a skill; a deleted skill takes its runs along.
CREATE INDEX CONCURRENTLY IF NOT EXISTS benchmark_runs_skill_created_idx
ON benchmark_runs (tenant_id, skill_id, created_at, id);

DROP INDEX CONCURRENTLY IF EXISTS skill_feedback_author_idx;

-- delete_user takes the name off a user's feedback.
CREATE INDEX CONCURRENTLY IF NOT EXISTS skill_feedback_author_idx
ON skill_feedback (tenant_id, user_id) WHERE user_id IS NOT NULL;

DROP INDEX CONCURRENTLY IF EXISTS token_measurements_skill_created_idx;

-- get_cost_trend reads a skill's newest measurements, the other statistics all of a skill.
CREATE INDEX CONCURRENTLY IF NOT EXISTS token_measurements_skill_created_idx
ON token_measurements (tenant_id, skill_id, created_at);

DROP INDEX CONCURRENTLY IF EXISTS usage_events_created_idx;

-- get_top_skills counts the newest events of an organisation from the index alone.
CREATE INDEX CONCURRENTLY IF NOT EXISTS usage_events_created_idx ON usage_events (tenant_id, created_at, skill_id);

DROP INDEX CONCURRENTLY IF EXISTS user_skill_views_viewed_skill_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS user_skill_views_viewed_skill_idx ON user_skill_views (tenant_id, skill_id);

DROP INDEX CONCURRENTLY IF EXISTS benchmark_results_model_name_idx;

-- benchmark_results_case_key begins with the run.
DROP INDEX CONCURRENTLY IF EXISTS benchmark_results_run_idx;

DROP INDEX CONCURRENTLY IF EXISTS benchmark_runs_skill_idx;

DROP INDEX CONCURRENTLY IF EXISTS benchmark_runs_status_idx;

DROP INDEX CONCURRENTLY IF EXISTS skill_feedback_feedback_type_idx;

-- skill_feedback_skill_created_idx finds a skill's feedback.
DROP INDEX CONCURRENTLY IF EXISTS skill_feedback_skill_idx;

DROP INDEX CONCURRENTLY IF EXISTS skill_feedback_status_idx;

DROP INDEX CONCURRENTLY IF EXISTS skill_feedback_user_idx;

DROP INDEX CONCURRENTLY IF EXISTS token_measurements_created_idx;

DROP INDEX CONCURRENTLY IF EXISTS token_measurements_model_name_idx;

DROP INDEX CONCURRENTLY IF EXISTS token_measurements_skill_idx;

DROP INDEX CONCURRENTLY IF EXISTS user_skill_views_skill_idx;

-- No query reads a user's views by time, and user_skill_views_user_skill_key finds them.
DROP INDEX CONCURRENTLY IF EXISTS user_skill_views_user_last_viewed_idx;

-- Why an index stays that no query's plan uses: PostgreSQL checks foreign keys by queries of its own.
COMMENT ON INDEX benchmark_runs_triggered_by_idx IS
'For benchmark_runs_triggered_by_fk: deleting a user asks whether the user triggered a run.';
COMMENT ON INDEX benchmark_runs_skill_version_idx IS
'For benchmark_runs_skill_version_fk: deleting a version, with its skill, asks whether a run is left on it.';
COMMENT ON INDEX skill_feedback_skill_version_idx IS
'For skill_feedback_skill_version_fk: deleting a version, with its skill, asks whether feedback is left on it.';
COMMENT ON INDEX skill_versions_created_by_idx IS
'For skill_versions_created_by_fk: deleting a user asks whether the user published a version.';
COMMENT ON INDEX skills_author_idx IS
'For skills_author_fk: deleting a user asks whether the user wrote a skill.';
COMMENT ON INDEX skills_published_version_idx IS
'For skills_published_version_fk: deleting a version, with its skill, asks whether a skill publishes it.';
COMMENT ON INDEX user_skill_views_viewed_skill_idx IS
'For user_skill_views_skill_fk: deleting a skill deletes its views.';
