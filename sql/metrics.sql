-- The counters and averages on skills: update them, recompute them, find drift.

-- name: increment_skill_uses(skill_id, by)
-- Example: by = 1
WITH changed AS (
    UPDATE skills
    SET
        total_uses = coalesce(total_uses, 0) + %(by)s::integer,
        metrics_updated_at = date_trunc('milliseconds', now())
    WHERE tenant_id = %(tenant_id)s AND id = %(skill_id)s
    RETURNING total_uses
)

SELECT
    coalesce(
        (SELECT changed.total_uses FROM changed),
        raise_not_found('skill', %(skill_id)s)::bigint
    ) AS total_uses;

-- name: update_skill_rating(skill_id)
-- After lock_skill. Only a statement that begins after the lock sees every rating that was committed before it.
UPDATE skills AS s
SET
    rating_count = r.rating_count,
    rating_sum = r.rating_sum,
    average_rating = mean_rating(r.rating_sum, r.rating_count),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM (
    SELECT
        count(*) AS rating_count,
        coalesce(sum(rating), 0) AS rating_sum
    FROM ratings
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
) AS r
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
RETURNING s.average_rating;

-- name: update_skill_feedback(skill_id)
-- After lock_skill.
UPDATE skills AS s
SET
    total_feedback = f.total_feedback,
    thumbs_up_count = f.thumbs_up_count,
    thumbs_down_count = f.thumbs_down_count,
    positive_feedback_pct = positive_percentage(f.total_feedback, f.thumbs_up_count, f.thumbs_down_count),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM (
    SELECT
        count(*) AS total_feedback,
        count(*) FILTER (WHERE feedback_type = 'thumbs_up') AS thumbs_up_count,
        count(*) FILTER (WHERE feedback_type = 'thumbs_down') AS thumbs_down_count
    FROM skill_feedback
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
) AS f
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
RETURNING s.positive_feedback_pct;

-- name: update_skill_token_cost(skill_id)
-- After lock_skill. The rollups also hold the measurements that were pruned.
UPDATE skills AS s
SET
    priced_measurement_count = m.priced_measurement_count,
    token_cost_sum_microcents = m.token_cost_sum_microcents,
    avg_token_cost_microcents = mean_cost(m.token_cost_sum_microcents, m.priced_measurement_count),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM (
    SELECT
        coalesce(sum(priced_measurements), 0)::bigint AS priced_measurement_count,
        coalesce(sum(cost_microcents), 0)::bigint AS token_cost_sum_microcents
    FROM skill_daily_costs
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
) AS m
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
RETURNING s.avg_token_cost_microcents;

-- name: repair_metrics(skill_id)
-- After lock_skill. All counters in one UPDATE: a second UPDATE of a row in one transaction makes PostgreSQL check its
-- foreign keys again, which locks the author after the skill. A use may be counted without an event, so the number of
-- events is a lower bound. The rollups also hold the events and measurements that were pruned.
UPDATE skills AS s
SET
    total_uses = greatest(s.total_uses, e.events),
    rating_count = r.rating_count,
    rating_sum = r.rating_sum,
    average_rating = mean_rating(r.rating_sum, r.rating_count),
    total_feedback = f.total_feedback,
    thumbs_up_count = f.thumbs_up_count,
    thumbs_down_count = f.thumbs_down_count,
    positive_feedback_pct = positive_percentage(f.total_feedback, f.thumbs_up_count, f.thumbs_down_count),
    priced_measurement_count = m.priced_measurement_count,
    token_cost_sum_microcents = m.token_cost_sum_microcents,
    avg_token_cost_microcents = mean_cost(m.token_cost_sum_microcents, m.priced_measurement_count),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM (
    SELECT
        count(*) AS rating_count,
        coalesce(sum(rating), 0) AS rating_sum
    FROM ratings
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
) AS r
CROSS JOIN (
    SELECT
        count(*) AS total_feedback,
        count(*) FILTER (WHERE feedback_type = 'thumbs_up') AS thumbs_up_count,
        count(*) FILTER (WHERE feedback_type = 'thumbs_down') AS thumbs_down_count
    FROM skill_feedback
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
) AS f
CROSS JOIN (
    SELECT
        coalesce(sum(priced_measurements), 0)::bigint AS priced_measurement_count,
        coalesce(sum(cost_microcents), 0)::bigint AS token_cost_sum_microcents
    FROM skill_daily_costs
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
) AS m
CROSS JOIN (
    SELECT coalesce(sum(uses_to_day[31]), 0) AS events
    FROM skill_monthly_uses
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
) AS e
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s;

-- name: find_metric_drift()
-- Reads all: recounts every rating and feedback item of the organisation, and adds up its rollups. find_use_drift and
-- find_cost_drift compare the rollups with the raw rows.
WITH rated AS (
    SELECT
        skill_id,
        count(*) AS ratings,
        sum(rating) AS rating_sum
    FROM ratings
    WHERE tenant_id = %(tenant_id)s
    GROUP BY skill_id
),

used AS (
    SELECT
        skill_id,
        sum(uses_to_day[31])::bigint AS events
    FROM skill_monthly_uses
    WHERE tenant_id = %(tenant_id)s
    GROUP BY skill_id
),

commented AS (
    SELECT
        skill_id,
        count(*) AS feedback,
        count(*) FILTER (WHERE feedback_type = 'thumbs_up') AS up,
        count(*) FILTER (WHERE feedback_type = 'thumbs_down') AS down
    FROM skill_feedback
    WHERE tenant_id = %(tenant_id)s
    GROUP BY skill_id
),

measured AS (
    SELECT
        skill_id,
        sum(priced_measurements)::bigint AS priced,
        sum(cost_microcents)::bigint AS cost_sum
    FROM skill_daily_costs
    WHERE tenant_id = %(tenant_id)s
    GROUP BY skill_id
)

SELECT
    s.id AS skill_id,
    m.metric,
    m.stored,
    m.actual
FROM skills AS s
LEFT JOIN rated ON rated.skill_id = s.id
LEFT JOIN used ON used.skill_id = s.id
LEFT JOIN commented ON commented.skill_id = s.id
LEFT JOIN measured ON measured.skill_id = s.id
CROSS JOIN
    LATERAL (
        VALUES
        ('rating_count', s.rating_count, coalesce(rated.ratings, 0)),
        ('rating_sum', s.rating_sum, coalesce(rated.rating_sum, 0)),
        ('average_rating', s.average_rating, mean_rating(rated.rating_sum, rated.ratings)),
        -- A use may be counted without an event, so only a lower count is drift.
        ('total_uses', s.total_uses, greatest(s.total_uses, coalesce(used.events, 0))),
        ('total_feedback', s.total_feedback, coalesce(commented.feedback, 0)),
        ('thumbs_up_count', s.thumbs_up_count, coalesce(commented.up, 0)),
        ('thumbs_down_count', s.thumbs_down_count, coalesce(commented.down, 0)),
        (
            'positive_feedback_pct',
            s.positive_feedback_pct,
            positive_percentage(commented.feedback, commented.up, commented.down)
        ),
        ('priced_measurement_count', s.priced_measurement_count, coalesce(measured.priced, 0)),
        ('token_cost_sum_microcents', s.token_cost_sum_microcents, coalesce(measured.cost_sum, 0)),
        ('avg_token_cost_microcents', s.avg_token_cost_microcents, mean_cost(measured.cost_sum, measured.priced))
    ) AS m (metric, stored, actual)
WHERE s.tenant_id = %(tenant_id)s AND m.stored IS DISTINCT FROM m.actual
ORDER BY s.id, m.metric;
