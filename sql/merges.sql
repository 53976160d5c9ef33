-- The steps that merge a skill into another: they move its rows, and add up its counters and rollups.
-- Whoever writes ratings, events, feedback items, measurements or rollups of a skill locks it first, and so waits for
-- the merge. Who views a skill does not.

-- name: lock_users_of_skill(skill_id)
-- Before lock_skills: to move a view, its foreign key locks the user. So delete_user waits for the merge, and then
-- finds the ratings at the target.
WITH locked AS (
    SELECT u.id
    FROM users AS u
    WHERE
        u.tenant_id = %(tenant_id)s
        AND u.id = ANY(
            ARRAY(
                SELECT r.user_id
                FROM ratings AS r
                WHERE r.tenant_id = %(tenant_id)s AND r.skill_id = %(skill_id)s
                UNION
                SELECT v.user_id
                FROM user_skill_views AS v
                WHERE v.tenant_id = %(tenant_id)s AND v.skill_id = %(skill_id)s
            )
        )
    ORDER BY u.id
    FOR KEY SHARE
)

SELECT count(*) AS users
FROM locked;

-- name: move_ratings(skill_id, target_skill_id)
-- A user who rated both keeps the newer rating, and that of the target if both are equally new. It waits for no user.
-- A user may rate the source after lock_users_of_skill, and then be locked by a change of the email or a deletion. Both
-- ratings of that user stay: delete_user has found the one of the source there, and waits for the source.
-- The last condition also lets the older ratings go first, so that no user has two ratings of the target.
-- Example: target_skill_id = :skill_id
WITH present AS MATERIALIZED (
    SELECT u.id
    FROM users AS u
    WHERE
        u.tenant_id = %(tenant_id)s
        AND u.id = ANY(
            ARRAY(
                SELECT r.user_id
                FROM ratings AS r
                WHERE r.tenant_id = %(tenant_id)s AND r.skill_id = %(skill_id)s
            )
        )
    ORDER BY u.id
    FOR KEY SHARE SKIP LOCKED
),

older AS MATERIALIZED (
    SELECT CASE WHEN r.updated_at > t.updated_at THEN t.id ELSE r.id END AS id
    FROM ratings AS r
    INNER JOIN ratings AS t
        ON t.tenant_id = %(tenant_id)s AND t.user_id = r.user_id AND t.skill_id = %(target_skill_id)s
    WHERE
        r.tenant_id = %(tenant_id)s
        AND r.skill_id = %(skill_id)s
        AND r.user_id = ANY(ARRAY(SELECT p.id FROM present AS p))
),

deleted AS (
    DELETE FROM ratings
    WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT o.id FROM older AS o))
    RETURNING id
)

UPDATE ratings
SET skill_id = %(target_skill_id)s
WHERE
    tenant_id = %(tenant_id)s
    AND skill_id = %(skill_id)s
    AND user_id = ANY(ARRAY(SELECT p.id FROM present AS p))
    AND NOT (id = ANY(ARRAY(SELECT d.id FROM deleted AS d)));

-- name: move_feedback(skill_id, target_skill_id)
-- The versions of the source are none of the target's.
-- Example: target_skill_id = :skill_id
UPDATE skill_feedback
SET
    skill_id = %(target_skill_id)s,
    skill_version_id = NULL,
    implemented_version_id = NULL
WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s;

-- name: move_events(skill_id, target_skill_id)
-- Example: target_skill_id = :skill_id
UPDATE usage_events
SET skill_id = %(target_skill_id)s
WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s;

-- name: move_measurements(skill_id, target_skill_id)
-- Example: target_skill_id = :skill_id
UPDATE token_measurements
SET skill_id = %(target_skill_id)s
WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s;

-- name: lock_views_of_skills(skill_id, target_skill_id)
-- In the order in which a call with several views locks them. The skill's lock does not suffice: a repeated view locks
-- its own row alone.
-- Example: target_skill_id = :skill_id
WITH locked AS (
    SELECT v.id
    FROM user_skill_views AS v
    WHERE
        v.tenant_id = %(tenant_id)s
        AND v.skill_id = ANY(ARRAY[%(skill_id)s, %(target_skill_id)s])
        AND v.user_id = ANY(
            ARRAY(
                SELECT w.user_id
                FROM user_skill_views AS w
                WHERE w.tenant_id = %(tenant_id)s AND w.skill_id = %(skill_id)s
            )
        )
    ORDER BY v.skill_id, v.user_id
    FOR UPDATE
)

SELECT count(*) AS views
FROM locked;

-- name: move_views(skill_id, target_skill_id)
-- A user who viewed only the source has seen no version of the target. Not an UPDATE: a user may view the target for
-- the first time meanwhile. move_ratings explains SKIP LOCKED.
-- Example: target_skill_id = :skill_id
WITH present AS MATERIALIZED (
    SELECT u.id
    FROM users AS u
    WHERE
        u.tenant_id = %(tenant_id)s
        AND u.id = ANY(
            ARRAY(
                SELECT w.user_id
                FROM user_skill_views AS w
                WHERE w.tenant_id = %(tenant_id)s AND w.skill_id = %(skill_id)s
            )
        )
    ORDER BY u.id
    FOR KEY SHARE SKIP LOCKED
),

moved AS (
    DELETE FROM user_skill_views
    WHERE
        tenant_id = %(tenant_id)s
        AND skill_id = %(skill_id)s
        AND user_id = ANY(ARRAY(SELECT p.id FROM present AS p))
    RETURNING id, user_id, last_viewed_at, view_count
)

INSERT INTO user_skill_views AS v (tenant_id, id, user_id, skill_id, last_viewed_at, view_count)
SELECT
    %(tenant_id)s,
    moved.id,
    moved.user_id,
    %(target_skill_id)s,
    moved.last_viewed_at,
    moved.view_count
FROM moved
ON CONFLICT (tenant_id, user_id, skill_id) DO UPDATE
    SET
        last_viewed_at = greatest(v.last_viewed_at, excluded.last_viewed_at),
        view_count = v.view_count + excluded.view_count;

-- name: move_monthly_uses(skill_id, target_skill_id)
-- Example: target_skill_id = :skill_id
WITH moved AS (
    DELETE FROM skill_monthly_uses
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
    RETURNING month, uses_to_day
)

INSERT INTO skill_monthly_uses AS m (tenant_id, skill_id, month, uses_to_day)
SELECT
    %(tenant_id)s,
    %(target_skill_id)s,
    moved.month,
    moved.uses_to_day
FROM moved
ON CONFLICT (tenant_id, skill_id, month) DO UPDATE
    SET uses_to_day = add_uses(m.uses_to_day, excluded.uses_to_day);

-- name: move_daily_costs(skill_id, target_skill_id)
-- Example: target_skill_id = :skill_id
WITH moved AS (
    DELETE FROM skill_daily_costs
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
    RETURNING
        day, model_name, measurements, priced_measurements, cost_microcents,
        input_tokens, output_tokens, total_tokens, timed_measurements, latency_ms
)

INSERT INTO skill_daily_costs AS d (
    tenant_id, skill_id, day, model_name, measurements, priced_measurements, cost_microcents,
    input_tokens, output_tokens, total_tokens, timed_measurements, latency_ms
)
SELECT
    %(tenant_id)s,
    %(target_skill_id)s,
    moved.day,
    moved.model_name,
    moved.measurements,
    moved.priced_measurements,
    moved.cost_microcents,
    moved.input_tokens,
    moved.output_tokens,
    moved.total_tokens,
    moved.timed_measurements,
    moved.latency_ms
FROM moved
ON CONFLICT (tenant_id, skill_id, day, model_name) DO UPDATE
    SET
        measurements = d.measurements + excluded.measurements,
        priced_measurements = d.priced_measurements + excluded.priced_measurements,
        cost_microcents = d.cost_microcents + excluded.cost_microcents,
        input_tokens = d.input_tokens + excluded.input_tokens,
        output_tokens = d.output_tokens + excluded.output_tokens,
        total_tokens = d.total_tokens + excluded.total_tokens,
        timed_measurements = d.timed_measurements + excluded.timed_measurements,
        latency_ms = d.latency_ms + excluded.latency_ms;

-- name: add_counters(skill_id, target_skill_id)
-- The ratings are counted again, because those of users who rated both did not all move.
-- Example: target_skill_id = :skill_id
UPDATE skills AS t
SET
    total_uses = t.total_uses + s.total_uses,
    rating_count = r.rating_count,
    rating_sum = r.rating_sum,
    average_rating = mean_rating(r.rating_sum, r.rating_count),
    total_feedback = t.total_feedback + s.total_feedback,
    thumbs_up_count = t.thumbs_up_count + s.thumbs_up_count,
    thumbs_down_count = t.thumbs_down_count + s.thumbs_down_count,
    positive_feedback_pct = positive_percentage(
        t.total_feedback + s.total_feedback,
        t.thumbs_up_count + s.thumbs_up_count,
        t.thumbs_down_count + s.thumbs_down_count
    ),
    priced_measurement_count = t.priced_measurement_count + s.priced_measurement_count,
    token_cost_sum_microcents = t.token_cost_sum_microcents + s.token_cost_sum_microcents,
    avg_token_cost_microcents = mean_cost(
        t.token_cost_sum_microcents + s.token_cost_sum_microcents,
        t.priced_measurement_count + s.priced_measurement_count
    ),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM skills AS s
CROSS JOIN (
    SELECT
        count(*) AS rating_count,
        coalesce(sum(rating), 0) AS rating_sum
    FROM ratings
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(target_skill_id)s
) AS r
WHERE
    t.tenant_id = %(tenant_id)s
    AND s.tenant_id = %(tenant_id)s
    AND t.id = %(target_skill_id)s
    AND s.id = %(skill_id)s;

-- name: archive_merged_skill(skill_id)
-- After add_counters. The times move as in update_skill. Only ratings that move_ratings did not move are left.
WITH archived AS (
    SELECT
        old.id,
        CASE
            WHEN old.status <> 'archived'
                THEN (old.updated_at AT TIME ZONE 'UTC' + interval '1 millisecond') AT TIME ZONE 'UTC'
        END AS earliest,
        CASE WHEN old.status <> 'archived' THEN 'infinity' ELSE '-infinity' END::timestamptz AS latest
    FROM skills AS old
    WHERE old.tenant_id = %(tenant_id)s AND old.id = %(skill_id)s
),

rated AS (
    SELECT
        count(*) AS rating_count,
        coalesce(sum(rating), 0) AS rating_sum
    FROM ratings
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
)

UPDATE skills AS s
SET
    status = 'archived',
    updated_at = greatest(
        s.updated_at, archived.earliest, least(archived.latest, date_trunc('milliseconds', now()))
    ),
    edited_at = greatest(
        s.edited_at, archived.earliest, least(archived.latest, date_trunc('milliseconds', now()))
    ),
    total_uses = 0,
    rating_count = rated.rating_count,
    rating_sum = rated.rating_sum,
    average_rating = mean_rating(rated.rating_sum, rated.rating_count),
    total_feedback = 0,
    thumbs_up_count = 0,
    thumbs_down_count = 0,
    positive_feedback_pct = positive_percentage(0, 0, 0),
    priced_measurement_count = 0,
    token_cost_sum_microcents = 0,
    avg_token_cost_microcents = mean_cost(0, 0),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM archived
CROSS JOIN rated
WHERE s.tenant_id = %(tenant_id)s AND s.id = archived.id;
