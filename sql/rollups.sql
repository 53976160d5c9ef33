-- Rollups: add up the pending uses, compare a day with its raw rows, and rebuild it.
-- A fold and a repair take lock_horizon first, so that there is one at a time.

-- name: fold_uses(limit)
-- After lock_horizon. Moves pending uses in one statement, so each is counted exactly once, also after a crash. The
-- uses of a user who was deleted meanwhile, or is being deleted, count for the tool alone. delete_user never waits for
-- pending uses, so the two cannot deadlock.
-- Example: limit = 10
WITH folded AS (
    DELETE FROM pending_uses
    WHERE
        tenant_id = %(tenant_id)s
        -- An array is looked up in the index. The rows of IN would be joined, by reading the whole table.
        AND id = ANY(
            ARRAY(
                SELECT p.id
                FROM pending_uses AS p
                WHERE p.tenant_id = %(tenant_id)s
                ORDER BY p.id
                LIMIT %(limit)s::bigint
            )
        )
    RETURNING day, tool_name, user_id, uses
),

daily AS (
    SELECT
        tool_name,
        user_id,
        day,
        date_trunc('month', day::timestamp)::date AS month,
        uses_on(day, sum(uses)::bigint) AS uses_to_day
    FROM folded
    GROUP BY tool_name, user_id, day
),

present AS MATERIALIZED (
    SELECT u.id
    FROM users AS u
    WHERE
        u.tenant_id = %(tenant_id)s
        AND u.id = ANY(ARRAY(SELECT DISTINCT d.user_id FROM daily AS d))
        AND u.deleting_since IS NULL
    ORDER BY u.id
    FOR KEY SHARE
),

by_tool AS (
    INSERT INTO tool_monthly_uses AS m (tenant_id, tool_name, month, uses_to_day)
    SELECT
        %(tenant_id)s,
        tool_name,
        month,
        sum_uses(uses_to_day)
    FROM daily
    WHERE tool_name IS NOT NULL
    GROUP BY tool_name, month
    ON CONFLICT (tenant_id, month, tool_name) DO UPDATE
        SET uses_to_day = add_uses(m.uses_to_day, excluded.uses_to_day)
),

by_user AS (
    INSERT INTO user_monthly_uses AS m (tenant_id, user_id, month, uses_to_day)
    SELECT
        %(tenant_id)s,
        d.user_id,
        d.month,
        sum_uses(d.uses_to_day)
    FROM daily AS d
    INNER JOIN present AS u ON u.id = d.user_id
    GROUP BY d.user_id, d.month
    ON CONFLICT (tenant_id, user_id, month) DO UPDATE
        SET uses_to_day = add_uses(m.uses_to_day, excluded.uses_to_day)
)

SELECT count(*) AS folded
FROM folded;

-- name: get_next_day(after)
-- The first day of UTC after this one that may have raw rows or rollups to compare, NULL if there is none. Days before
-- the horizon are left out: their raw rows may have been pruned. A month with a rollup counts from its first to its
-- last day.
-- Example: after = '2000-01-01'
WITH kept AS (
    SELECT
        greatest(%(after)s::date + 1, max(h.events_kept_from)) AS event_day,
        greatest(%(after)s::date + 1, max(h.measurements_kept_from)) AS measurement_day
    FROM horizons AS h
    WHERE h.tenant_id = %(tenant_id)s
)

SELECT
    least(
        (
            SELECT (min(e.created_at) AT TIME ZONE 'UTC')::date
            FROM usage_events AS e
            WHERE e.tenant_id = %(tenant_id)s AND e.created_at >= k.event_day::timestamp AT TIME ZONE 'UTC'
        ),
        (
            SELECT greatest(m.month, k.event_day)
            FROM skill_monthly_uses AS m
            WHERE m.tenant_id = %(tenant_id)s AND m.month >= date_trunc('month', k.event_day::timestamp)::date
            ORDER BY m.month
            LIMIT 1
        ),
        (
            SELECT (min(t.created_at) AT TIME ZONE 'UTC')::date
            FROM token_measurements AS t
            WHERE t.tenant_id = %(tenant_id)s AND t.created_at >= k.measurement_day::timestamp AT TIME ZONE 'UTC'
        ),
        (
            SELECT min(d.day)
            FROM skill_daily_costs AS d
            WHERE d.tenant_id = %(tenant_id)s AND d.day >= k.measurement_day
        )
    ) AS day
FROM kept AS k;

-- name: find_use_drift(day)
-- Only too few uses of a tool or user are drift: deleting a skill deletes its events, and the tool was used all the
-- same. Nothing is drift before the horizon, and nothing that a user has who is being deleted.
-- Example: day = '2000-01-01'
WITH raw AS MATERIALIZED (
    SELECT
        e.skill_id,
        e.tool_name,
        e.user_id,
        count(*) AS uses
    FROM usage_events AS e
    WHERE
        e.tenant_id = %(tenant_id)s
        AND e.created_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
        AND e.created_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    GROUP BY e.skill_id, e.tool_name, e.user_id
),

-- One row for each number, whose sums are compared.
numbers AS (
    SELECT 'skill_monthly_uses' AS rollup, skill_id AS key, 0 AS stored, uses AS actual FROM raw
    UNION ALL
    SELECT 'tool_monthly_uses', tool_name, 0, uses FROM raw
    UNION ALL
    SELECT 'user_monthly_uses', user_id, 0, uses FROM raw
    UNION ALL
    SELECT 'skill_monthly_uses', skill_id, uses_between(uses_to_day, month, %(day)s::date, %(day)s::date), 0
    FROM skill_monthly_uses
    WHERE tenant_id = %(tenant_id)s AND month = date_trunc('month', %(day)s::date::timestamp)::date
    UNION ALL
    SELECT 'tool_monthly_uses', tool_name, uses_between(uses_to_day, month, %(day)s::date, %(day)s::date), 0
    FROM tool_monthly_uses
    WHERE tenant_id = %(tenant_id)s AND month = date_trunc('month', %(day)s::date::timestamp)::date
    UNION ALL
    SELECT 'user_monthly_uses', user_id, uses_between(uses_to_day, month, %(day)s::date, %(day)s::date), 0
    FROM user_monthly_uses
    WHERE tenant_id = %(tenant_id)s AND month = date_trunc('month', %(day)s::date::timestamp)::date
    UNION ALL
    SELECT 'tool_monthly_uses', tool_name, uses, 0
    FROM pending_uses
    WHERE tenant_id = %(tenant_id)s AND day = %(day)s::date
    UNION ALL
    SELECT 'user_monthly_uses', user_id, uses, 0
    FROM pending_uses
    WHERE tenant_id = %(tenant_id)s AND day = %(day)s::date
),

sums AS (
    SELECT
        rollup,
        key,
        coalesce(sum(stored), 0)::bigint AS stored,
        sum(actual)::bigint AS actual
    FROM numbers
    WHERE key IS NOT NULL
    GROUP BY rollup, key
)

SELECT
    %(day)s::date AS day,
    s.rollup,
    s.key,
    NULL::text AS model_name,
    'uses' AS metric,
    s.stored,
    s.actual
FROM sums AS s
WHERE
    (s.stored < s.actual OR (s.stored > s.actual AND s.rollup = 'skill_monthly_uses'))
    AND NOT EXISTS (
        SELECT FROM horizons AS h
        WHERE h.tenant_id = %(tenant_id)s AND h.events_kept_from > %(day)s::date
    )
    AND NOT (
        s.rollup = 'user_monthly_uses'
        AND EXISTS (
            SELECT FROM users AS u
            WHERE u.tenant_id = %(tenant_id)s AND u.id = s.key AND u.deleting_since IS NOT NULL
        )
    )
ORDER BY s.rollup, s.key;

-- name: find_cost_drift(day)
-- Nothing is drift before the horizon.
-- Example: day = '2000-01-01'
WITH raw AS (
    SELECT
        skill_id,
        model_name,
        count(*) AS measurements,
        count(estimated_cost_microcents) AS priced_measurements,
        sum(estimated_cost_microcents) AS cost_microcents,
        sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens,
        sum(total_tokens) AS total_tokens,
        count(latency_ms) AS timed_measurements,
        sum(latency_ms) AS latency_ms
    FROM token_measurements
    WHERE
        tenant_id = %(tenant_id)s
        AND created_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
        AND created_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    GROUP BY skill_id, model_name
),

stored AS (
    SELECT
        skill_id, model_name, measurements, priced_measurements, cost_microcents,
        input_tokens, output_tokens, total_tokens, timed_measurements, latency_ms
    FROM skill_daily_costs
    WHERE tenant_id = %(tenant_id)s AND day = %(day)s::date
)

SELECT
    c.metric,
    'skill_daily_costs' AS rollup,
    %(day)s::date AS day,
    coalesce(s.skill_id, r.skill_id) AS key,
    coalesce(s.model_name, r.model_name) AS model_name,
    coalesce(c.stored, 0) AS stored,
    coalesce(c.actual, 0)::bigint AS actual
FROM stored AS s
FULL JOIN raw AS r ON r.skill_id = s.skill_id AND r.model_name = s.model_name
CROSS JOIN
    LATERAL (
        VALUES
        ('measurements', s.measurements, r.measurements),
        ('priced_measurements', s.priced_measurements, r.priced_measurements),
        ('cost_microcents', s.cost_microcents, r.cost_microcents),
        ('input_tokens', s.input_tokens, r.input_tokens),
        ('output_tokens', s.output_tokens, r.output_tokens),
        ('total_tokens', s.total_tokens, r.total_tokens),
        ('timed_measurements', s.timed_measurements, r.timed_measurements),
        ('latency_ms', s.latency_ms, r.latency_ms)
    ) AS c (metric, stored, actual)
WHERE
    coalesce(c.stored, 0) <> coalesce(c.actual, 0)
    AND NOT EXISTS (
        SELECT FROM horizons AS h
        WHERE h.tenant_id = %(tenant_id)s AND h.measurements_kept_from > %(day)s::date
    )
ORDER BY coalesce(s.skill_id, r.skill_id), coalesce(s.model_name, r.model_name), c.metric;

-- name: append_missing_uses(day)
-- After lock_horizon. What a tool or user lacks is appended, and fold_uses adds it like all others. Uses that are too
-- many stay. find_use_drift explains the reason. Writes nothing before the horizon, and nothing for a user who is being
-- deleted: the lock of the other users makes delete_user wait.
-- Example: day = '2000-01-01'
WITH raw AS MATERIALIZED (
    SELECT
        e.tool_name,
        e.user_id,
        count(*) AS uses
    FROM usage_events AS e
    WHERE
        e.tenant_id = %(tenant_id)s
        AND e.created_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
        AND e.created_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
        AND NOT EXISTS (
            SELECT FROM horizons AS h
            WHERE h.tenant_id = %(tenant_id)s AND h.events_kept_from > %(day)s::date
        )
    GROUP BY e.tool_name, e.user_id
),

numbers AS (
    SELECT tool_name, NULL AS user_id, uses FROM raw
    UNION ALL
    SELECT NULL, user_id, uses FROM raw
    UNION ALL
    SELECT tool_name, NULL, -uses_between(uses_to_day, month, %(day)s::date, %(day)s::date)
    FROM tool_monthly_uses
    WHERE tenant_id = %(tenant_id)s AND month = date_trunc('month', %(day)s::date::timestamp)::date
    UNION ALL
    SELECT NULL, user_id, -uses_between(uses_to_day, month, %(day)s::date, %(day)s::date)
    FROM user_monthly_uses
    WHERE tenant_id = %(tenant_id)s AND month = date_trunc('month', %(day)s::date::timestamp)::date
    UNION ALL
    SELECT tool_name, NULL, -uses
    FROM pending_uses
    WHERE tenant_id = %(tenant_id)s AND day = %(day)s::date
    UNION ALL
    SELECT NULL, user_id, -uses
    FROM pending_uses
    WHERE tenant_id = %(tenant_id)s AND day = %(day)s::date
),

missing AS MATERIALIZED (
    SELECT
        tool_name,
        user_id,
        sum(uses) AS uses
    FROM numbers
    WHERE tool_name IS NOT NULL OR user_id IS NOT NULL
    GROUP BY tool_name, user_id
    HAVING sum(uses) > 0
),

present AS MATERIALIZED (
    SELECT u.id
    FROM users AS u
    WHERE
        u.tenant_id = %(tenant_id)s
        AND u.id = ANY(ARRAY(SELECT m.user_id FROM missing AS m))
        AND u.deleting_since IS NULL
    ORDER BY u.id
    FOR KEY SHARE
)

INSERT INTO pending_uses (tenant_id, day, tool_name, user_id, uses)
SELECT
    %(tenant_id)s,
    %(day)s::date,
    m.tool_name,
    m.user_id,
    m.uses
FROM missing AS m
LEFT JOIN present AS p ON p.id = m.user_id
WHERE m.user_id IS NULL OR p.id IS NOT NULL
ON CONFLICT (tenant_id, id) DO NOTHING;

-- name: lock_skills_of_rollups(skill_ids)
-- Works like lock_skills, except that a missing skill raises no error: its rollups went with it.
SELECT s.id
FROM skills AS s
WHERE s.tenant_id = %(tenant_id)s AND s.id = ANY(%(skill_ids)s::text[])
ORDER BY s.id
FOR NO KEY UPDATE;

-- name: rebuild_skill_uses(day, skill_ids)
-- After lock_horizon and lock_skills_of_rollups. Adds the difference. Writes nothing before the horizon.
-- MATERIALIZED: the rows of the day are found by their time. A generic plan would read all events of the skills.
-- Example: day = '2000-01-01'
WITH numbers AS MATERIALIZED (
    SELECT
        skill_id,
        1 AS uses
    FROM usage_events
    WHERE
        tenant_id = %(tenant_id)s
        AND created_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
        AND created_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    UNION ALL
    SELECT
        skill_id,
        -uses_between(uses_to_day, month, %(day)s::date, %(day)s::date)
    FROM skill_monthly_uses
    WHERE tenant_id = %(tenant_id)s AND month = date_trunc('month', %(day)s::date::timestamp)::date
)

INSERT INTO skill_monthly_uses AS m (tenant_id, skill_id, month, uses_to_day)
SELECT
    %(tenant_id)s,
    n.skill_id,
    date_trunc('month', %(day)s::date::timestamp)::date,
    uses_on(%(day)s::date, sum(n.uses)::bigint)
FROM numbers AS n
WHERE
    n.skill_id = ANY(%(skill_ids)s::text[])
    AND NOT EXISTS (
        SELECT FROM horizons AS h
        WHERE h.tenant_id = %(tenant_id)s AND h.events_kept_from > %(day)s::date
    )
GROUP BY n.skill_id
HAVING sum(n.uses) <> 0
ON CONFLICT (tenant_id, skill_id, month) DO UPDATE
    SET uses_to_day = add_uses(m.uses_to_day, excluded.uses_to_day);

-- name: clear_skill_costs(day, skill_ids)
-- After lock_horizon and lock_skills_of_rollups. Deletes nothing before the horizon.
-- Example: day = '2000-01-01'
DELETE FROM skill_daily_costs
WHERE
    tenant_id = %(tenant_id)s
    AND skill_id = ANY(%(skill_ids)s::text[])
    AND day = %(day)s::date
    AND NOT EXISTS (
        SELECT FROM horizons AS h
        WHERE h.tenant_id = %(tenant_id)s AND h.measurements_kept_from > %(day)s::date
    );

-- name: rebuild_skill_costs(day, skill_ids)
-- After clear_skill_costs.
-- Example: day = '2000-01-01'
-- Run first: clear_skill_costs
INSERT INTO skill_daily_costs (
    tenant_id, skill_id, day, model_name, measurements, priced_measurements, cost_microcents,
    input_tokens, output_tokens, total_tokens, timed_measurements, latency_ms
)
SELECT
    %(tenant_id)s,
    m.skill_id,
    %(day)s::date,
    m.model_name,
    count(*),
    count(m.estimated_cost_microcents),
    coalesce(sum(m.estimated_cost_microcents), 0),
    coalesce(sum(m.input_tokens), 0),
    coalesce(sum(m.output_tokens), 0),
    coalesce(sum(m.total_tokens), 0),
    count(m.latency_ms),
    coalesce(sum(m.latency_ms), 0)
FROM token_measurements AS m
WHERE
    m.tenant_id = %(tenant_id)s
    AND m.skill_id = ANY(%(skill_ids)s::text[])
    AND m.created_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
    AND m.created_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    AND NOT EXISTS (
        SELECT FROM horizons AS h
        WHERE h.tenant_id = %(tenant_id)s AND h.measurements_kept_from > %(day)s::date
    )
GROUP BY m.skill_id, m.model_name
ON CONFLICT (tenant_id, skill_id, day, model_name) DO NOTHING;
