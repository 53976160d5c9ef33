-- Locks: ACCESS EXCLUSIVE on benchmark_results and benchmark_runs.
SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS benchmark_results;
DROP TABLE IF EXISTS benchmark_runs;
