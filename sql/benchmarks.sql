-- Runs that compare models on a skill, and their results.
-- The workflow: pending to running, running to completed or failed, pending to failed. requeue_stale_runs moves a run
-- back from running to pending.

-- name: create_benchmark_run(id, skill_id, skill_version_id, triggered_by, models, created_at)
-- Example: id = 'skilldb-explain', skill_version_id = :version_id, triggered_by = :user_id,
-- models = ARRAY['example'], created_at = NULL
INSERT INTO benchmark_runs (tenant_id, id, skill_id, skill_version_id, triggered_by, models, created_at)
VALUES (
    %(tenant_id)s,
    coalesce(%(id)s, gen_random_uuid()::text),
    %(skill_id)s,
    %(skill_version_id)s,
    %(triggered_by)s,
    %(models)s::text[],
    date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now()))
)
RETURNING
    id, skill_id, skill_version_id, triggered_by, status, worker, models,
    best_model, best_quality_score, cheapest_model, cheapest_cost_microcents,
    started_at, completed_at, created_at;

-- name: lock_benchmark_run(run_id)
-- Lock first, so that a refused transition reports the current status.
SELECT coalesce(
    (
        SELECT b.id
        FROM benchmark_runs AS b
        WHERE b.tenant_id = %(tenant_id)s AND b.id = %(run_id)s
        FOR NO KEY UPDATE
    ),
    raise_not_found('run', %(run_id)s)
) AS id;

-- name: claim_benchmark_run(worker)
-- The oldest pending run that no other transaction has locked. PostgreSQL reads a run again after it has locked it, and
-- skips one that is no longer pending. So no two workers claim the same run.
-- Example: worker = 'skilldb-explain'
-- Run first: create_benchmark_run
WITH oldest AS MATERIALIZED (
    SELECT b.id
    FROM benchmark_runs AS b
    WHERE b.tenant_id = %(tenant_id)s AND b.status = 'pending'
    ORDER BY b.created_at, b.id
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE benchmark_runs
SET
    status = 'running',
    worker = %(worker)s,
    started_at = date_trunc('milliseconds', now())
WHERE tenant_id = %(tenant_id)s AND id = (SELECT o.id FROM oldest AS o)
RETURNING
    id, skill_id, skill_version_id, triggered_by, status, worker, models,
    best_model, best_quality_score, cheapest_model, cheapest_cost_microcents,
    started_at, completed_at, created_at;

-- name: check_benchmark_worker(run_id, worker, action)
-- After lock_benchmark_run. A worker whose run was requeued must not write to it: the run is pending, or runs for
-- another worker.
-- Example: run_id = 'skilldb-explain', worker = 'skilldb-explain', action = 'complete'
-- Run first: create_benchmark_run, start_benchmark_run
SELECT
    CASE
        WHEN b.status IN ('pending', 'running') AND coalesce(b.worker <> %(worker)s, TRUE)
            THEN raise_invalid_transition(
                'run',
                b.id,
                b.status || CASE
                    WHEN b.status = 'pending' THEN ''
                    ELSE coalesce(' for worker ''' || left(b.worker, 100) || '''', ' for no worker')
                END,
                %(action)s || ' for worker ''' || left(%(worker)s, 100) || ''''
            )
    END AS refused
FROM benchmark_runs AS b
WHERE b.tenant_id = %(tenant_id)s AND b.id = %(run_id)s;

-- name: take_back_stale_runs(microseconds)
-- The first step of requeue_stale_runs. A run that a worker is writing to is locked, and stays for the next time. Until
-- the third step these runs are the only ones that are pending and have a started_at. No other transaction sees that.
-- Example: microseconds = 3600000000
UPDATE benchmark_runs
SET
    status = 'pending',
    worker = NULL
WHERE
    tenant_id = %(tenant_id)s
    AND id = ANY(
        ARRAY(
            SELECT b.id
            FROM benchmark_runs AS b
            WHERE
                b.tenant_id = %(tenant_id)s
                AND b.status = 'running'
                AND b.started_at <= now() - make_interval(secs => %(microseconds)s::bigint / 1000000.0)
            ORDER BY b.id
            FOR NO KEY UPDATE SKIP LOCKED
        )
    );

-- name: delete_results_of_requeued_runs()
-- The second step. It begins after the runs are locked, so it sees every result: no worker can add another one.
DELETE FROM benchmark_results
WHERE
    tenant_id = %(tenant_id)s
    AND benchmark_run_id = ANY(
        ARRAY(
            SELECT b.id
            FROM benchmark_runs AS b
            WHERE b.tenant_id = %(tenant_id)s AND b.status = 'pending' AND b.started_at IS NOT NULL
        )
    );

-- name: requeue_stale_runs()
-- The third step.
WITH requeued AS (
    UPDATE benchmark_runs
    SET started_at = NULL
    WHERE tenant_id = %(tenant_id)s AND status = 'pending' AND started_at IS NOT NULL
    RETURNING id
)

SELECT count(*) AS requeued
FROM requeued;

-- name: check_benchmark_start(run_id, started_at)
-- After lock_benchmark_run. For a time that the caller gives.
-- Example: run_id = 'skilldb-explain', started_at = NULL
-- Run first: create_benchmark_run
SELECT
    CASE
        WHEN %(started_at)s::timestamptz < b.created_at
            THEN raise_invalid_value('started_at', (%(started_at)s::timestamptz)::text, 'is before the run was created')
    END AS refused
FROM benchmark_runs AS b
WHERE b.tenant_id = %(tenant_id)s AND b.id = %(run_id)s AND b.status = 'pending';

-- name: check_benchmark_end(run_id, completed_at)
-- After lock_benchmark_run. For a time that the caller gives.
-- Example: run_id = 'skilldb-explain', completed_at = NULL
-- Run first: create_benchmark_run, start_benchmark_run
SELECT
    CASE
        WHEN %(completed_at)s::timestamptz < coalesce(b.started_at, b.created_at)
            THEN raise_invalid_value(
                'completed_at',
                (%(completed_at)s::timestamptz)::text,
                'is before the run was ' || CASE WHEN b.started_at IS NULL THEN 'created' ELSE 'started' END
            )
    END AS refused
FROM benchmark_runs AS b
WHERE b.tenant_id = %(tenant_id)s AND b.id = %(run_id)s AND b.status IN ('pending', 'running');

-- name: start_benchmark_run(run_id, worker, started_at)
-- After lock_benchmark_run. A time that is given is kept, and now() takes the place of NULL. Here and below this is no
-- coalesce(): in an UPDATE Citus allows only IMMUTABLE functions there.
-- Example: run_id = 'skilldb-explain', worker = 'skilldb-explain', started_at = NULL
-- Run first: create_benchmark_run
WITH changed AS (
    UPDATE benchmark_runs
    SET
        status = 'running',
        worker = %(worker)s,
        started_at = greatest(
            date_trunc('milliseconds', %(started_at)s::timestamptz),
            least(
                date_trunc('milliseconds', now()),
                CASE WHEN %(started_at)s::timestamptz IS NULL THEN 'infinity' ELSE '-infinity' END::timestamptz
            )
        )
    WHERE tenant_id = %(tenant_id)s AND id = %(run_id)s AND status = 'pending'
    RETURNING
        id, skill_id, skill_version_id, triggered_by, status, worker, models,
        best_model, best_quality_score, cheapest_model, cheapest_cost_microcents,
        started_at, completed_at, created_at
)

SELECT
    c.id, c.skill_id, c.skill_version_id, c.triggered_by, c.status, c.worker, c.models,
    c.best_model, c.best_quality_score, c.cheapest_model, c.cheapest_cost_microcents,
    c.started_at, c.completed_at, c.created_at
FROM benchmark_runs AS b
LEFT JOIN changed AS c ON c.id = b.id
WHERE
    b.tenant_id = %(tenant_id)s
    AND b.id = %(run_id)s
    AND coalesce(c.id, raise_invalid_transition('run', b.id, b.status, 'start')) IS NOT NULL;

-- name: check_benchmark_results(run_id, models)
-- After lock_benchmark_run. Results are accepted only for a running run, and only for models that it lists.
-- Example: run_id = 'skilldb-explain', models = ARRAY['example']
-- Run first: create_benchmark_run, start_benchmark_run
SELECT
    CASE
        WHEN b.status <> 'running' THEN raise_invalid_transition('run', b.id, b.status, 'take results')
        WHEN NOT %(models)s::text[] <@ b.models
            THEN raise_invalid_value(
                'model',
                (
                    SELECT min(m.model)
                    FROM unnest(%(models)s::text[]) AS m (model)
                    WHERE NOT ARRAY[m.model] <@ b.models
                ),
                'is not one that the run lists'
            )
    END AS refused
FROM benchmark_runs AS b
WHERE b.tenant_id = %(tenant_id)s AND b.id = %(run_id)s;

-- name: record_benchmark_results(run_id, model_name, model_provider, test_case_index, input_used,
-- output_produced, expected_output, input_tokens, output_tokens, total_tokens, latency_ms, estimated_cost_microcents,
-- quality_score, quality_notes, matches_expected, error_message, created_at)
-- After check_benchmark_results. A second result for the same test case replaces the first.
-- Example: 50 rows of run_id = 'skilldb-explain', model_name = 'example', model_provider = 'example',
-- test_case_index = 0..49, input_used = NULL, output_produced = NULL, expected_output = NULL, input_tokens = 900,
-- output_tokens = 100, total_tokens = 1000, latency_ms = 700, estimated_cost_microcents = 5000, quality_score = 80,
-- quality_notes = NULL, matches_expected = TRUE, error_message = NULL, created_at = NULL
-- Run first: create_benchmark_run, start_benchmark_run
WITH recorded AS (
    INSERT INTO benchmark_results (
        tenant_id, benchmark_run_id, model_name, model_provider, test_case_index,
        input_used, output_produced, expected_output, input_tokens, output_tokens, total_tokens, latency_ms,
        estimated_cost_microcents, quality_score, quality_notes, matches_expected, error_message, created_at
    )
    SELECT
        %(tenant_id)s,
        %(run_id)s,
        r.model_name,
        r.model_provider,
        r.test_case_index,
        r.input_used,
        r.output_produced,
        r.expected_output,
        r.input_tokens,
        r.output_tokens,
        r.total_tokens,
        r.latency_ms,
        r.estimated_cost_microcents,
        r.quality_score,
        r.quality_notes,
        r.matches_expected,
        r.error_message,
        date_trunc('milliseconds', coalesce(r.created_at, now()))
    FROM
        unnest(
            %(model_name)s::text[],
            %(model_provider)s::text[],
            %(test_case_index)s::integer[],
            %(input_used)s::text[],
            %(output_produced)s::text[],
            %(expected_output)s::text[],
            %(input_tokens)s::integer[],
            %(output_tokens)s::integer[],
            %(total_tokens)s::integer[],
            %(latency_ms)s::integer[],
            %(estimated_cost_microcents)s::bigint[],
            %(quality_score)s::integer[],
            %(quality_notes)s::text[],
            %(matches_expected)s::boolean[],
            %(error_message)s::text[],
            %(created_at)s::timestamptz[]
        ) AS r (
            model_name, model_provider, test_case_index,
            input_used, output_produced, expected_output, input_tokens, output_tokens, total_tokens, latency_ms,
            estimated_cost_microcents, quality_score, quality_notes, matches_expected, error_message, created_at
        )
    ON CONFLICT (tenant_id, benchmark_run_id, model_name, test_case_index) DO UPDATE
        SET
            model_provider = excluded.model_provider,
            input_used = excluded.input_used,
            output_produced = excluded.output_produced,
            expected_output = excluded.expected_output,
            input_tokens = excluded.input_tokens,
            output_tokens = excluded.output_tokens,
            total_tokens = excluded.total_tokens,
            latency_ms = excluded.latency_ms,
            estimated_cost_microcents = excluded.estimated_cost_microcents,
            quality_score = excluded.quality_score,
            quality_notes = excluded.quality_notes,
            matches_expected = excluded.matches_expected,
            error_message = excluded.error_message
    RETURNING id
)

SELECT count(*) AS recorded
FROM recorded;

-- name: complete_benchmark_run(run_id, completed_at)
-- After lock_benchmark_run. The ranking uses the unrounded means; the stored means are rounded half up.
-- A run that another system says has started in the future completes then: no run completes before it started.
-- avg() keeps 16 digits, which are too few for high costs. With twenty decimals any two means differ as the exact ones.
-- Example: run_id = 'skilldb-explain', completed_at = NULL
-- Run first: create_benchmark_run, start_benchmark_run, record_benchmark_results
WITH means AS (
    SELECT
        model_name,
        avg(quality_score) AS mean_quality,
        sum(estimated_cost_microcents) * 1.00000000000000000000 / count(estimated_cost_microcents) AS mean_cost
    FROM benchmark_results
    WHERE tenant_id = %(tenant_id)s AND benchmark_run_id = %(run_id)s
    GROUP BY model_name
),

best AS (
    SELECT
        model_name,
        round(mean_quality)::integer AS quality
    FROM means
    WHERE mean_quality IS NOT NULL
    ORDER BY mean_quality DESC, mean_cost ASC NULLS LAST, model_name ASC
    LIMIT 1
),

cheapest AS (
    SELECT
        model_name,
        round(mean_cost)::bigint AS cost
    FROM means
    WHERE mean_cost IS NOT NULL
    ORDER BY mean_cost ASC, model_name ASC
    LIMIT 1
),

changed AS (
    UPDATE benchmark_runs
    SET
        status = 'completed',
        completed_at = greatest(
            date_trunc('milliseconds', %(completed_at)s::timestamptz),
            least(
                date_trunc('milliseconds', now()),
                CASE WHEN %(completed_at)s::timestamptz IS NULL THEN 'infinity' ELSE '-infinity' END::timestamptz
            ),
            started_at,
            created_at
        ),
        best_model = (SELECT best.model_name FROM best),
        best_quality_score = (SELECT best.quality FROM best),
        cheapest_model = (SELECT cheapest.model_name FROM cheapest),
        cheapest_cost_microcents = (SELECT cheapest.cost FROM cheapest)
    WHERE tenant_id = %(tenant_id)s AND id = %(run_id)s AND status = 'running'
    RETURNING
        id, skill_id, skill_version_id, triggered_by, status, worker, models,
        best_model, best_quality_score, cheapest_model, cheapest_cost_microcents,
        started_at, completed_at, created_at
)

SELECT
    c.id, c.skill_id, c.skill_version_id, c.triggered_by, c.status, c.worker, c.models,
    c.best_model, c.best_quality_score, c.cheapest_model, c.cheapest_cost_microcents,
    c.started_at, c.completed_at, c.created_at
FROM benchmark_runs AS b
LEFT JOIN changed AS c ON c.id = b.id
WHERE
    b.tenant_id = %(tenant_id)s
    AND b.id = %(run_id)s
    AND coalesce(c.id, raise_invalid_transition('run', b.id, b.status, 'complete')) IS NOT NULL;

-- name: fail_benchmark_run(run_id, completed_at)
-- After lock_benchmark_run. complete_benchmark_run explains the time.
-- Example: run_id = 'skilldb-explain', completed_at = NULL
-- Run first: create_benchmark_run
WITH changed AS (
    UPDATE benchmark_runs
    SET
        status = 'failed',
        completed_at = greatest(
            date_trunc('milliseconds', %(completed_at)s::timestamptz),
            least(
                date_trunc('milliseconds', now()),
                CASE WHEN %(completed_at)s::timestamptz IS NULL THEN 'infinity' ELSE '-infinity' END::timestamptz
            ),
            started_at,
            created_at
        )
    WHERE tenant_id = %(tenant_id)s AND id = %(run_id)s AND status IN ('pending', 'running')
    RETURNING
        id, skill_id, skill_version_id, triggered_by, status, worker, models,
        best_model, best_quality_score, cheapest_model, cheapest_cost_microcents,
        started_at, completed_at, created_at
)

SELECT
    c.id, c.skill_id, c.skill_version_id, c.triggered_by, c.status, c.worker, c.models,
    c.best_model, c.best_quality_score, c.cheapest_model, c.cheapest_cost_microcents,
    c.started_at, c.completed_at, c.created_at
FROM benchmark_runs AS b
LEFT JOIN changed AS c ON c.id = b.id
WHERE
    b.tenant_id = %(tenant_id)s
    AND b.id = %(run_id)s
    AND coalesce(c.id, raise_invalid_transition('run', b.id, b.status, 'fail')) IS NOT NULL;

-- name: get_latest_benchmark_run(skill_id)
-- The results are one JSON array, so that the run and its results come from one snapshot.
SELECT
    b.id, b.skill_id, b.skill_version_id, b.triggered_by, b.status, b.worker, b.models,
    b.best_model, b.best_quality_score, b.cheapest_model, b.cheapest_cost_microcents,
    b.started_at, b.completed_at, b.created_at,
    coalesce(
        (
            SELECT
                jsonb_agg(
                    jsonb_build_object(
                        'id', r.id,
                        'benchmark_run_id', r.benchmark_run_id,
                        'model_name', r.model_name,
                        'model_provider', r.model_provider,
                        'test_case_index', r.test_case_index,
                        'input_used', r.input_used,
                        'output_produced', r.output_produced,
                        'expected_output', r.expected_output,
                        'input_tokens', r.input_tokens,
                        'output_tokens', r.output_tokens,
                        'total_tokens', r.total_tokens,
                        'latency_ms', r.latency_ms,
                        'estimated_cost_microcents', r.estimated_cost_microcents,
                        'quality_score', r.quality_score,
                        'quality_notes', r.quality_notes,
                        'matches_expected', r.matches_expected,
                        'error_message', r.error_message,
                        'created_at', r.created_at
                    )
                    ORDER BY r.model_name, r.test_case_index
                )
            FROM benchmark_results AS r
            WHERE r.tenant_id = %(tenant_id)s AND r.benchmark_run_id = b.id
        ),
        '[]'
    ) AS results
FROM benchmark_runs AS b
WHERE b.tenant_id = %(tenant_id)s AND b.skill_id = %(skill_id)s
ORDER BY b.created_at DESC, b.id DESC
LIMIT 1;

-- name: get_benchmark_run(run_id)
-- get_latest_benchmark_run explains the JSON.
SELECT
    b.id, b.skill_id, b.skill_version_id, b.triggered_by, b.status, b.worker, b.models,
    b.best_model, b.best_quality_score, b.cheapest_model, b.cheapest_cost_microcents,
    b.started_at, b.completed_at, b.created_at,
    coalesce(
        (
            SELECT
                jsonb_agg(
                    jsonb_build_object(
                        'id', r.id,
                        'benchmark_run_id', r.benchmark_run_id,
                        'model_name', r.model_name,
                        'model_provider', r.model_provider,
                        'test_case_index', r.test_case_index,
                        'input_used', r.input_used,
                        'output_produced', r.output_produced,
                        'expected_output', r.expected_output,
                        'input_tokens', r.input_tokens,
                        'output_tokens', r.output_tokens,
                        'total_tokens', r.total_tokens,
                        'latency_ms', r.latency_ms,
                        'estimated_cost_microcents', r.estimated_cost_microcents,
                        'quality_score', r.quality_score,
                        'quality_notes', r.quality_notes,
                        'matches_expected', r.matches_expected,
                        'error_message', r.error_message,
                        'created_at', r.created_at
                    )
                    ORDER BY r.model_name, r.test_case_index
                )
            FROM benchmark_results AS r
            WHERE r.tenant_id = %(tenant_id)s AND r.benchmark_run_id = b.id
        ),
        '[]'
    ) AS results
FROM benchmark_runs AS b
WHERE b.tenant_id = %(tenant_id)s AND b.id = %(run_id)s;

-- name: list_benchmark_runs(skill_id, status, after_created_at, after_id, limit)
-- Newest first. list_skills explains the bound and the extra row. Without a skill each status is one range of
-- benchmark_runs_status_idx, of which the query reads a page at most: one index serves it with and without a status.
-- Example: skill_id = NULL, status = NULL, after_created_at = NULL, after_id = NULL, limit = 10
SELECT
    r.id, r.skill_id, r.skill_version_id, r.triggered_by, r.status, r.worker, r.models,
    r.best_model, r.best_quality_score, r.cheapest_model, r.cheapest_cost_microcents,
    r.started_at, r.completed_at, r.created_at
FROM (
    (
        SELECT
            b.id, b.skill_id, b.skill_version_id, b.triggered_by, b.status, b.worker, b.models,
            b.best_model, b.best_quality_score, b.cheapest_model, b.cheapest_cost_microcents,
            b.started_at, b.completed_at, b.created_at
        FROM benchmark_runs AS b
        WHERE
            b.tenant_id = %(tenant_id)s
            AND b.skill_id = %(skill_id)s
            AND (b.created_at, b.id) < (
                SELECT
                    coalesce(%(after_created_at)s::timestamptz, 'infinity'),
                    coalesce(%(after_id)s, '')
            )
            AND CASE WHEN %(status)s::text IS NULL THEN TRUE ELSE b.status = %(status)s END
        ORDER BY b.created_at DESC, b.id DESC
        LIMIT %(limit)s::bigint + 1
    )
    UNION ALL
    SELECT
        p.id, p.skill_id, p.skill_version_id, p.triggered_by, p.status, p.worker, p.models,
        p.best_model, p.best_quality_score, p.cheapest_model, p.cheapest_cost_microcents,
        p.started_at, p.completed_at, p.created_at
    FROM
        unnest(
            CASE
                WHEN %(skill_id)s::text IS NOT NULL THEN '{}'
                WHEN %(status)s::text IS NULL THEN ARRAY['pending', 'running', 'completed', 'failed']
                ELSE ARRAY[%(status)s]
            END
        ) AS t (status)
    CROSS JOIN
        LATERAL (
            SELECT
                w.id, w.skill_id, w.skill_version_id, w.triggered_by, w.status, w.worker, w.models,
                w.best_model, w.best_quality_score, w.cheapest_model, w.cheapest_cost_microcents,
                w.started_at, w.completed_at, w.created_at
            FROM benchmark_runs AS w
            WHERE
                w.tenant_id = %(tenant_id)s
                AND w.status = t.status
                AND (w.created_at, w.id) < (
                    SELECT
                        coalesce(%(after_created_at)s::timestamptz, 'infinity'),
                        coalesce(%(after_id)s, '')
                )
            ORDER BY w.created_at DESC, w.id DESC
            LIMIT %(limit)s::bigint + 1
        ) AS p
) AS r
ORDER BY r.created_at DESC, r.id DESC
LIMIT %(limit)s::bigint + 1;

-- name: compare_models(run_id)
-- The ranking is that of complete_benchmark_run. A model without a quality score comes last.
WITH means AS (
    SELECT
        model_name,
        count(*) AS cases,
        avg(quality_score) AS mean_quality,
        sum(estimated_cost_microcents) * 1.00000000000000000000 / count(estimated_cost_microcents) AS mean_cost,
        avg(total_tokens) AS mean_tokens,
        avg(latency_ms) AS mean_latency,
        100.0 * count(*) FILTER (WHERE matches_expected) / nullif(count(matches_expected), 0) AS matches
    FROM benchmark_results
    WHERE tenant_id = %(tenant_id)s AND benchmark_run_id = %(run_id)s
    GROUP BY model_name
)

SELECT
    model_name,
    cases,
    round(mean_quality)::integer AS avg_quality_score,
    round(mean_cost)::bigint AS avg_cost_microcents,
    round(mean_tokens)::integer AS avg_total_tokens,
    round(mean_latency)::integer AS avg_latency_ms,
    round(matches)::integer AS matches_expected_pct
FROM means
ORDER BY mean_quality DESC NULLS LAST, mean_cost ASC NULLS LAST, model_name ASC;

-- name: get_model_leaderboard(days)
-- Like compare_models, over the completed runs of all skills. The sums of each run come first: they follow the order of
-- benchmark_results_case_key, and counting the runs of a model then needs no sort of all results. An index by model was
-- measured, with 117,000 results: 70 ms of the server's CPU without it, 65 with (tenant_id, model_name), 64 with
-- (tenant_id) alone. Every result is read in any case, so there is none.
-- Reads all: it averages the results of every completed run, and a run has few of them.
-- Example: days = NULL
WITH sums AS (
    SELECT
        r.model_name,
        count(*) AS cases,
        sum(r.quality_score) AS quality,
        count(r.quality_score) AS judged,
        sum(r.estimated_cost_microcents) AS cost,
        count(r.estimated_cost_microcents) AS priced,
        sum(r.total_tokens) AS tokens,
        count(r.total_tokens) AS counted,
        sum(r.latency_ms) AS latency,
        count(r.latency_ms) AS timed,
        count(*) FILTER (WHERE r.matches_expected) AS matching,
        count(r.matches_expected) AS compared
    FROM benchmark_runs AS b
    INNER JOIN benchmark_results AS r ON r.tenant_id = %(tenant_id)s AND r.benchmark_run_id = b.id
    WHERE
        b.tenant_id = %(tenant_id)s
        AND b.status = 'completed'
        AND b.created_at >= (
            SELECT
                CASE
                    WHEN %(days)s::integer IS NULL THEN '-infinity'
                    ELSE now() - make_interval(hours => 24 * %(days)s::integer)
                END
        )
    GROUP BY r.benchmark_run_id, r.model_name
),

means AS (
    SELECT
        s.model_name,
        count(*) AS runs,
        sum(s.cases)::bigint AS cases,
        sum(s.quality) * 1.00000000000000000000 / nullif(sum(s.judged), 0) AS mean_quality,
        sum(s.cost) * 1.00000000000000000000 / nullif(sum(s.priced), 0) AS mean_cost,
        sum(s.tokens) * 1.00000000000000000000 / nullif(sum(s.counted), 0) AS mean_tokens,
        sum(s.latency) * 1.00000000000000000000 / nullif(sum(s.timed), 0) AS mean_latency,
        100.0 * sum(s.matching) / nullif(sum(s.compared), 0) AS matches
    FROM sums AS s
    GROUP BY s.model_name
)

SELECT
    model_name,
    runs,
    cases,
    round(mean_quality)::integer AS avg_quality_score,
    round(mean_cost)::bigint AS avg_cost_microcents,
    round(mean_tokens)::integer AS avg_total_tokens,
    round(mean_latency)::integer AS avg_latency_ms,
    round(matches)::integer AS matches_expected_pct
FROM means
ORDER BY mean_quality DESC NULLS LAST, mean_cost ASC NULLS LAST, model_name ASC;
