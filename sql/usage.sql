-- Usage events of skills and tools, and their count on skills.

-- name: lock_event(id, user_id, skill_id)
-- Works like lock_user_and_skill, except that an event that is already stored raises no error for a missing user or
-- skill.
-- Example: id = :event_id
SELECT
    CASE
        WHEN CASE
            WHEN %(user_id)s::text IS NOT NULL AND (
                SELECT u.id
                FROM users AS u
                WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s
                FOR KEY SHARE
            ) IS NULL THEN NOT EXISTS (
                SELECT FROM usage_events AS e
                WHERE e.tenant_id = %(tenant_id)s AND e.id = %(id)s::uuid
            )
        END THEN raise_not_found('user', %(user_id)s)
        WHEN CASE
            WHEN %(skill_id)s::text IS NOT NULL AND (
                SELECT s.id
                FROM skills AS s
                WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
                FOR NO KEY UPDATE
            ) IS NULL THEN NOT EXISTS (
                SELECT FROM usage_events AS e
                WHERE e.tenant_id = %(tenant_id)s AND e.id = %(id)s::uuid
            )
        END THEN raise_not_found('skill', %(skill_id)s)
    END AS missing;

-- name: lock_users_of_events(id, user_id)
-- Works like lock_users, except that an event that is already stored raises no error for a missing user.
-- `NULL NOT IN (empty list)` is true, so NULLs are excluded explicitly.
-- Example: 50 rows of id = NULL, user_id = :user_ids
WITH locked AS (
    SELECT t.id
    FROM users AS t
    WHERE t.tenant_id = %(tenant_id)s AND t.id = ANY(%(user_id)s::text[])
    ORDER BY t.id
    FOR KEY SHARE
)

SELECT
    CASE
        WHEN
            (SELECT count(*) FROM locked)
            < (SELECT count(DISTINCT w.id) FROM unnest(%(user_id)s::text[]) AS w (id))
            THEN (
                SELECT raise_not_found('user', min(w.user_id))
                FROM unnest(%(id)s::uuid[], %(user_id)s::text[]) AS w (id, user_id)
                WHERE
                    w.user_id IS NOT NULL
                    AND w.user_id NOT IN (SELECT l.id FROM locked AS l)
                    AND NOT EXISTS (
                        SELECT FROM usage_events AS e
                        WHERE e.tenant_id = %(tenant_id)s AND e.id = w.id
                    )
                HAVING count(*) > 0
            )
    END AS missing;

-- name: lock_skills_of_events(id, skill_id)
-- Works like lock_skills, except that an event that is already stored raises no error for a missing skill.
-- Example: 50 rows of id = NULL, skill_id = :skill_ids
WITH locked AS (
    SELECT t.id
    FROM skills AS t
    WHERE t.tenant_id = %(tenant_id)s AND t.id = ANY(%(skill_id)s::text[])
    ORDER BY t.id
    FOR NO KEY UPDATE
)

SELECT
    CASE
        WHEN
            (SELECT count(*) FROM locked)
            < (SELECT count(DISTINCT w.id) FROM unnest(%(skill_id)s::text[]) AS w (id))
            THEN (
                SELECT raise_not_found('skill', min(w.skill_id))
                FROM unnest(%(id)s::uuid[], %(skill_id)s::text[]) AS w (id, skill_id)
                WHERE
                    w.skill_id IS NOT NULL
                    AND w.skill_id NOT IN (SELECT l.id FROM locked AS l)
                    AND NOT EXISTS (
                        SELECT FROM usage_events AS e
                        WHERE e.tenant_id = %(tenant_id)s AND e.id = w.id
                    )
                HAVING count(*) > 0
            )
    END AS missing;

-- name: record_usage_event(id, tool_name, skill_id, user_id, metadata, created_at)
-- After lock_event. One statement writes the event and updates the count. An id that is already stored changes neither.
-- Example: id = NULL, tool_name = 'example', metadata = NULL, created_at = NULL
WITH recorded AS (
    INSERT INTO usage_events (tenant_id, id, tool_name, skill_id, user_id, metadata, created_at)
    VALUES (
        %(tenant_id)s,
        coalesce(%(id)s::uuid, gen_random_uuid()),
        %(tool_name)s,
        %(skill_id)s,
        %(user_id)s,
        %(metadata)s::jsonb,
        date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now()))
    )
    ON CONFLICT (tenant_id, id) DO NOTHING
    RETURNING skill_id
),

counted AS (
    UPDATE skills AS s
    SET
        total_uses = coalesce(s.total_uses, 0) + 1,
        metrics_updated_at = date_trunc('milliseconds', now())
    FROM recorded
    WHERE s.tenant_id = %(tenant_id)s AND s.id = recorded.skill_id
)

SELECT count(*) > 0 AS recorded
FROM recorded;

-- name: record_usage_events(id, tool_name, skill_id, user_id, metadata, created_at)
-- After lock_users_of_events and lock_skills_of_events. Events are inserted in id order, so that two batches with
-- common ids cannot deadlock.
-- Example: 50 rows of id = NULL, tool_name = 'example', skill_id = :skill_ids, user_id = :user_ids, metadata = NULL,
-- created_at = NULL
WITH recorded AS (
    INSERT INTO usage_events (tenant_id, id, tool_name, skill_id, user_id, metadata, created_at)
    SELECT
        %(tenant_id)s,
        coalesce(e.id, gen_random_uuid()),
        e.tool_name,
        e.skill_id,
        e.user_id,
        e.metadata,
        date_trunc('milliseconds', coalesce(e.created_at, now()))
    FROM
        unnest(
            %(id)s::uuid[],
            %(tool_name)s::text[],
            %(skill_id)s::text[],
            %(user_id)s::text[],
            %(metadata)s::jsonb[],
            %(created_at)s::timestamptz[]
        ) AS e (id, tool_name, skill_id, user_id, metadata, created_at)
    ORDER BY e.id
    ON CONFLICT (tenant_id, id) DO NOTHING
    RETURNING skill_id
),

uses AS (
    SELECT
        skill_id,
        count(*) AS events
    FROM recorded
    GROUP BY skill_id
),

counted AS (
    UPDATE skills AS s
    SET
        total_uses = coalesce(s.total_uses, 0) + uses.events,
        metrics_updated_at = date_trunc('milliseconds', now())
    FROM uses
    WHERE s.tenant_id = %(tenant_id)s AND s.id = uses.skill_id
)

SELECT count(*) AS recorded
FROM recorded;

-- name: count_uses_by_day(skill_id, days)
-- Days of UTC, oldest first, today last. get_cost_trend explains the join.
-- Example: days = 30
WITH daily AS (
    SELECT
        date_trunc('day', e.created_at, 'UTC') AS start,
        count(*) AS uses
    FROM usage_events AS e
    WHERE
        e.tenant_id = %(tenant_id)s
        AND e.skill_id = %(skill_id)s
        AND e.created_at >= date_trunc('day', now(), 'UTC') - make_interval(hours => 24 * (%(days)s::integer - 1))
    GROUP BY date_trunc('day', e.created_at, 'UTC')
)

SELECT
    (t.start AT TIME ZONE 'UTC')::date AS day,
    coalesce(d.uses, 0) AS uses
FROM
    generate_series(
        date_trunc('day', now(), 'UTC') - make_interval(hours => 24 * (%(days)s::integer - 1)),
        date_trunc('day', now(), 'UTC'),
        interval '24 hours'
    ) AS t (start)
LEFT JOIN daily AS d ON d.start = t.start
ORDER BY t.start;

-- name: get_top_skills(days, limit)
-- Most used first. Skills that are equally used come in id order.
-- Example: days = 30, limit = 10
SELECT
    s.id AS skill_id,
    s.name AS skill_name,
    s.slug AS skill_slug,
    s.average_rating,
    u.uses
FROM (
    SELECT
        skill_id,
        count(*) AS uses
    FROM usage_events
    WHERE
        tenant_id = %(tenant_id)s
        AND skill_id IS NOT NULL
        AND created_at >= now() - make_interval(hours => 24 * %(days)s::integer)
    GROUP BY skill_id
    ORDER BY count(*) DESC, skill_id
    LIMIT %(limit)s::bigint
) AS u
INNER JOIN skills AS s ON s.tenant_id = %(tenant_id)s AND s.id = u.skill_id
ORDER BY u.uses DESC, s.id ASC;
