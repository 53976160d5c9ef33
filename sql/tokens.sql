-- Token measurements of skills, and the sum of their cost on skills. A microcent is a millionth of a cent: $1 is
-- 100,000,000.

-- name: record_token_measurements(id, skill_id, usage_event_id, user_id, input_tokens, output_tokens, total_tokens,
-- model_name, model_provider, estimated_cost_microcents, latency_ms, source, created_at)
-- After lock_users and lock_skills. The cost does not grow with the measurements that are already stored.
-- Example: 50 rows of id = NULL, skill_id = :skill_ids, usage_event_id = NULL, user_id = :user_ids,
-- input_tokens = 900, output_tokens = 100, total_tokens = 1000, model_name = 'example', model_provider = 'example',
-- estimated_cost_microcents = 5000, latency_ms = 700, source = 'example', created_at = NULL
WITH recorded AS (
    INSERT INTO token_measurements (
        tenant_id, id, skill_id, usage_event_id, user_id, input_tokens, output_tokens, total_tokens,
        model_name, model_provider, estimated_cost_microcents, latency_ms, source, created_at
    )
    SELECT
        %(tenant_id)s,
        coalesce(m.id, gen_random_uuid()::text),
        m.skill_id,
        m.usage_event_id,
        m.user_id,
        m.input_tokens,
        m.output_tokens,
        m.total_tokens,
        m.model_name,
        m.model_provider,
        m.cost,
        m.latency_ms,
        m.source,
        date_trunc('milliseconds', coalesce(m.created_at, now()))
    FROM
        unnest(
            %(id)s::text[],
            %(skill_id)s::text[],
            %(usage_event_id)s::text[],
            %(user_id)s::text[],
            %(input_tokens)s::integer[],
            %(output_tokens)s::integer[],
            %(total_tokens)s::integer[],
            %(model_name)s::text[],
            %(model_provider)s::text[],
            %(estimated_cost_microcents)s::bigint[],
            %(latency_ms)s::integer[],
            %(source)s::text[],
            %(created_at)s::timestamptz[]
        ) AS m (
            id, skill_id, usage_event_id, user_id, input_tokens, output_tokens, total_tokens,
            model_name, model_provider, cost, latency_ms, source, created_at
        )
    ORDER BY m.id
    RETURNING
        id, skill_id, usage_event_id, user_id, input_tokens, output_tokens, total_tokens,
        model_name, model_provider, estimated_cost_microcents, latency_ms, source, created_at
),

costs AS (
    SELECT
        skill_id,
        count(estimated_cost_microcents) AS priced,
        sum(estimated_cost_microcents) AS cost_sum
    FROM recorded
    GROUP BY skill_id
),

counted AS (
    UPDATE skills AS s
    SET
        priced_measurement_count = s.priced_measurement_count + costs.priced,
        token_cost_sum_microcents = s.token_cost_sum_microcents + costs.cost_sum,
        avg_token_cost_microcents = mean_cost(
            (s.token_cost_sum_microcents + costs.cost_sum)::bigint, s.priced_measurement_count + costs.priced
        ),
        metrics_updated_at = date_trunc('milliseconds', now())
    FROM costs
    WHERE s.tenant_id = %(tenant_id)s AND s.id = costs.skill_id AND costs.priced > 0
)

SELECT
    id, skill_id, usage_event_id, user_id, input_tokens, output_tokens, total_tokens,
    model_name, model_provider, estimated_cost_microcents, latency_ms, source, created_at
FROM recorded;

-- name: get_skill_cost_stats(skill_id)
-- The sum and the mean are the stored ones of the skill. The number and the predominant model are counted.
WITH models AS (
    SELECT
        model_name,
        count(*) AS measurements
    FROM token_measurements
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
    GROUP BY model_name
)

SELECT
    coalesce(max(s.id), raise_not_found('skill', %(skill_id)s)) AS skill_id,
    max(s.token_cost_sum_microcents) AS total_cost_microcents,
    max(s.avg_token_cost_microcents) AS avg_cost_microcents,
    coalesce(sum(m.measurements), 0)::bigint AS measurements,
    (array_agg(m.model_name ORDER BY m.measurements DESC, m.model_name ASC))[1] AS predominant_model
FROM skills AS s
LEFT JOIN models AS m ON true
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s;

-- name: get_cost_trend(skill_id, days)
-- Days of UTC, oldest first, today last. The rows are summed by day once, and then joined by equality. A join by range
-- would read all newer rows again for each day, because row-level security keeps the upper bound out of the index
-- condition.
-- Example: days = 30
WITH daily AS (
    SELECT
        date_trunc('day', m.created_at, 'UTC') AS start,
        sum(m.estimated_cost_microcents) AS cost,
        count(*) AS measurements
    FROM token_measurements AS m
    WHERE
        m.tenant_id = %(tenant_id)s
        AND m.skill_id = %(skill_id)s
        AND m.created_at >= date_trunc('day', now(), 'UTC') - make_interval(hours => 24 * (%(days)s::integer - 1))
    GROUP BY date_trunc('day', m.created_at, 'UTC')
)

SELECT
    (t.start AT TIME ZONE 'UTC')::date AS day,
    coalesce(d.cost, 0)::bigint AS cost_microcents,
    coalesce(d.measurements, 0) AS measurements
FROM
    generate_series(
        date_trunc('day', now(), 'UTC') - make_interval(hours => 24 * (%(days)s::integer - 1)),
        date_trunc('day', now(), 'UTC'),
        interval '24 hours'
    ) AS t (start)
LEFT JOIN daily AS d ON d.start = t.start
ORDER BY t.start;
