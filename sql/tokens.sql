-- Token measurements of skills, the sum of their cost on skills, and their rollup by day. A microcent is a millionth of
-- a cent: $1 is 100,000,000.

-- name: check_measurements_kept(created_at)
-- Works like check_events_kept.
-- Example: 1 rows of created_at = now() - interval '3 days'
WITH kept AS (
    SELECT h.measurements_kept_from::timestamp AT TIME ZONE 'UTC' AS since
    FROM horizons AS h
    WHERE
        h.tenant_id = %(tenant_id)s
        AND EXISTS (
            SELECT FROM unnest(%(created_at)s::timestamptz[]) AS w (created_at)
            WHERE w.created_at < ((now() AT TIME ZONE 'UTC')::date - 1)::timestamp AT TIME ZONE 'UTC'
        )
    FOR SHARE
)

SELECT
    raise_invalid_value(
        'created_at',
        min(w.created_at)::text,
        'is before ' || (min(k.since) AT TIME ZONE 'UTC')::date
        || ': earlier measurements were pruned, so a repeated one is not recognised. '
        || 'To record it all the same, pass backfill=True'
    ) AS refused
FROM unnest(%(created_at)s::timestamptz[]) AS w (created_at)
INNER JOIN kept AS k ON k.since > w.created_at
HAVING count(*) > 0;

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
),

rolled_up AS (
    INSERT INTO skill_daily_costs AS d (
        tenant_id, skill_id, day, model_name, measurements, priced_measurements, cost_microcents,
        input_tokens, output_tokens, total_tokens, timed_measurements, latency_ms
    )
    SELECT
        %(tenant_id)s,
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
    FROM recorded
    GROUP BY skill_id, (created_at AT TIME ZONE 'UTC')::date, model_name
    ON CONFLICT (tenant_id, skill_id, day, model_name) DO UPDATE
        SET
            measurements = d.measurements + excluded.measurements,
            priced_measurements = d.priced_measurements + excluded.priced_measurements,
            cost_microcents = d.cost_microcents + excluded.cost_microcents,
            input_tokens = d.input_tokens + excluded.input_tokens,
            output_tokens = d.output_tokens + excluded.output_tokens,
            total_tokens = d.total_tokens + excluded.total_tokens,
            timed_measurements = d.timed_measurements + excluded.timed_measurements,
            latency_ms = d.latency_ms + excluded.latency_ms
)

SELECT
    id, skill_id, usage_event_id, user_id, input_tokens, output_tokens, total_tokens,
    model_name, model_provider, estimated_cost_microcents, latency_ms, source, created_at
FROM recorded;

-- name: get_skill_cost_stats(skill_id)
-- The sum and the mean are the stored ones of the skill. The number and the predominant model are added up by day.
WITH models AS (
    SELECT
        model_name,
        sum(measurements) AS measurements
    FROM skill_daily_costs
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
LEFT JOIN models AS m ON TRUE
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s;

-- name: get_cost_trend(skill_id, days)
-- Days of UTC, oldest first, today last.
-- Example: days = 30
WITH daily AS (
    SELECT
        day,
        sum(cost_microcents)::bigint AS cost,
        sum(measurements)::bigint AS measurements
    FROM skill_daily_costs
    WHERE
        tenant_id = %(tenant_id)s
        AND skill_id = %(skill_id)s
        AND day >= (now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1)
    GROUP BY day
)

SELECT
    t.day,
    coalesce(d.cost, 0) AS cost_microcents,
    coalesce(d.measurements, 0) AS measurements
FROM (
    SELECT (now() AT TIME ZONE 'UTC')::date - g.n AS day
    FROM generate_series(0, %(days)s::integer - 1) AS g (n)
) AS t
LEFT JOIN daily AS d ON d.day = t.day
ORDER BY t.day;

-- name: get_cost_totals(days)
-- The mean rounds half up: the division of integers would cut it.
-- Example: days = 30
SELECT
    coalesce(sum(measurements), 0)::bigint AS measurements,
    coalesce(sum(priced_measurements), 0)::bigint AS priced_measurements,
    coalesce(sum(cost_microcents), 0)::bigint AS cost_microcents,
    coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
    coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
    coalesce(sum(total_tokens), 0)::bigint AS total_tokens,
    div(2 * sum(latency_ms) + sum(timed_measurements), nullif(2 * sum(timed_measurements), 0))::bigint AS avg_latency_ms
FROM skill_daily_costs
WHERE
    tenant_id = %(tenant_id)s
    AND day >= (now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1)
    AND day <= (now() AT TIME ZONE 'UTC')::date;

-- name: get_total_cost_trend(days, by)
-- The cost of all skills by day, week or month of UTC, oldest first. Weeks begin on Monday.
-- Example: days = 30, by = 'day'
WITH daily AS (
    SELECT
        day,
        sum(cost_microcents) AS cost,
        sum(measurements) AS measurements
    FROM skill_daily_costs
    WHERE
        tenant_id = %(tenant_id)s
        AND day >= (now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1)
        AND day <= (now() AT TIME ZONE 'UTC')::date
    GROUP BY day
)

SELECT
    t.first_day AS day,
    coalesce(sum(d.cost), 0)::bigint AS cost_microcents,
    coalesce(sum(d.measurements), 0)::bigint AS measurements
FROM (
    SELECT
        g.day,
        date_trunc(%(by)s, g.day::timestamp)::date AS first_day
    FROM (
        SELECT (now() AT TIME ZONE 'UTC')::date - n AS day
        FROM generate_series(0, %(days)s::integer - 1) AS n
    ) AS g
) AS t
LEFT JOIN daily AS d ON d.day = t.day
GROUP BY t.first_day
ORDER BY t.first_day;

-- name: get_cost_by_model(days)
-- Highest cost first. Models of the same cost come in the order of their names.
-- Example: days = 30
SELECT
    model_name,
    sum(measurements)::bigint AS measurements,
    sum(priced_measurements)::bigint AS priced_measurements,
    sum(cost_microcents)::bigint AS cost_microcents,
    sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(total_tokens)::bigint AS total_tokens,
    div(2 * sum(latency_ms) + sum(timed_measurements), nullif(2 * sum(timed_measurements), 0))::bigint AS avg_latency_ms
FROM skill_daily_costs
WHERE
    tenant_id = %(tenant_id)s
    AND day >= (now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1)
    AND day <= (now() AT TIME ZONE 'UTC')::date
GROUP BY model_name
ORDER BY sum(cost_microcents) DESC, model_name ASC;

-- name: get_cost_by_skill(days, limit, status)
-- Highest cost first. Skills of the same cost come in id order. The look-up of the skills works as in get_top_skills.
-- Example: days = 30, limit = 10, status = 'published'
SELECT
    s.id AS skill_id,
    s.name AS skill_name,
    s.slug AS skill_slug,
    c.measurements,
    c.priced_measurements,
    c.cost_microcents,
    c.total_tokens
FROM (
    SELECT
        skill_id,
        sum(measurements)::bigint AS measurements,
        sum(priced_measurements)::bigint AS priced_measurements,
        sum(cost_microcents)::bigint AS cost_microcents,
        sum(total_tokens)::bigint AS total_tokens
    FROM skill_daily_costs
    WHERE
        tenant_id = %(tenant_id)s
        AND day >= (now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1)
        AND day <= (now() AT TIME ZONE 'UTC')::date
    GROUP BY skill_id
    ORDER BY cost_microcents DESC, skill_id ASC
) AS c
CROSS JOIN
    LATERAL (
        SELECT k.id, k.name, k.slug
        FROM skills AS k
        WHERE
            k.tenant_id = %(tenant_id)s
            AND k.id = c.skill_id
            AND CASE WHEN %(status)s::text IS NULL THEN TRUE ELSE k.status = %(status)s END
        ORDER BY k.id
        LIMIT 1
    ) AS s
ORDER BY c.cost_microcents DESC, s.id ASC
LIMIT %(limit)s::bigint;

-- name: list_measurements(since, until, after_created_at, after_id, limit)
-- Oldest first. Works like list_usage_events.
-- Example: since = now() - interval '30 days', until = NULL, after_created_at = NULL, after_id = NULL, limit = 10
SELECT
    id, skill_id, usage_event_id, user_id, input_tokens, output_tokens, total_tokens,
    model_name, model_provider, estimated_cost_microcents, latency_ms, source, created_at
FROM token_measurements
WHERE
    tenant_id = %(tenant_id)s
    AND (created_at, id) > (
        SELECT
            greatest(
                %(after_created_at)s::timestamptz,
                date_trunc('milliseconds', %(since)s::timestamptz + interval '999 microseconds')
                - interval '1 microsecond',
                '-infinity'
            ),
            coalesce(%(after_id)s, '')
    )
    AND created_at < (SELECT coalesce(%(until)s::timestamptz, 'infinity'))
ORDER BY created_at ASC, id ASC
LIMIT %(limit)s::bigint + 1;
