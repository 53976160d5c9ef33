-- Locks: ACCESS EXCLUSIVE on benchmark_results and benchmark_runs, and on tenants, users, skills and
-- skill_versions, to which they refer.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS benchmark_results;
-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS benchmark_runs;
