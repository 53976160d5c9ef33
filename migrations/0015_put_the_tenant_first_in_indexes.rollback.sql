-- transactional: false
-- squawk-disable-assume-in-transaction
-- Locks: SHARE UPDATE EXCLUSIVE on each table in turn; for the order and the lock_timeout see the migration.
SET lock_timeout = '5min';

COMMENT ON INDEX benchmark_runs_triggered_by_idx IS NULL;
COMMENT ON INDEX benchmark_runs_skill_version_idx IS NULL;
COMMENT ON INDEX skill_feedback_skill_version_idx IS NULL;
COMMENT ON INDEX skill_versions_created_by_idx IS NULL;
COMMENT ON INDEX skills_author_idx IS NULL;
COMMENT ON INDEX skills_published_version_idx IS NULL;

DROP INDEX CONCURRENTLY IF EXISTS benchmark_results_model_name_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS benchmark_results_model_name_idx ON benchmark_results (model_name);

DROP INDEX CONCURRENTLY IF EXISTS benchmark_results_run_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS benchmark_results_run_idx ON benchmark_results (benchmark_run_id);

DROP INDEX CONCURRENTLY IF EXISTS benchmark_runs_skill_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS benchmark_runs_skill_idx ON benchmark_runs (skill_id);

DROP INDEX CONCURRENTLY IF EXISTS benchmark_runs_status_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS benchmark_runs_status_idx ON benchmark_runs (status);

DROP INDEX CONCURRENTLY IF EXISTS skill_feedback_feedback_type_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS skill_feedback_feedback_type_idx ON skill_feedback (feedback_type);

DROP INDEX CONCURRENTLY IF EXISTS skill_feedback_skill_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS skill_feedback_skill_idx ON skill_feedback (skill_id);

DROP INDEX CONCURRENTLY IF EXISTS skill_feedback_status_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS skill_feedback_status_idx ON skill_feedback (status);

DROP INDEX CONCURRENTLY IF EXISTS skill_feedback_user_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS skill_feedback_user_idx ON skill_feedback (user_id);

DROP INDEX CONCURRENTLY IF EXISTS token_measurements_created_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS token_measurements_created_idx ON token_measurements (created_at);

DROP INDEX CONCURRENTLY IF EXISTS token_measurements_model_name_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS token_measurements_model_name_idx ON token_measurements (model_name);

DROP INDEX CONCURRENTLY IF EXISTS token_measurements_skill_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS token_measurements_skill_idx ON token_measurements (skill_id);

DROP INDEX CONCURRENTLY IF EXISTS user_skill_views_skill_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS user_skill_views_skill_idx ON user_skill_views (skill_id);

DROP INDEX CONCURRENTLY IF EXISTS user_skill_views_user_last_viewed_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS user_skill_views_user_last_viewed_idx
ON user_skill_views (user_id, last_viewed_at);

DROP INDEX CONCURRENTLY IF EXISTS benchmark_runs_skill_created_idx;

DROP INDEX CONCURRENTLY IF EXISTS skill_feedback_author_idx;

DROP INDEX CONCURRENTLY IF EXISTS token_measurements_skill_created_idx;

DROP INDEX CONCURRENTLY IF EXISTS usage_events_created_idx;

DROP INDEX CONCURRENTLY IF EXISTS user_skill_views_viewed_skill_idx;
