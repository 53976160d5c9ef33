-- Usage events of skills and tools, their count on skills, and the rollups that reports read.

-- name: check_events_kept(created_at)
-- Refuses an event from before the horizon: a pruned event of the same id is no longer recognised, and would be counted
-- again. The lock makes keep_rows wait, which moves the horizon, until the events of this transaction are seen. The
-- horizon never passes the day before yesterday, so newer events need no lock, and wait for no fold and no repair.
-- Example: 1 rows of created_at = now() - interval '3 days'
WITH kept AS (
    SELECT h.events_kept_from::timestamp AT TIME ZONE 'UTC' AS since
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
        || ': earlier events were pruned, so a repeated one is not recognised. '
        || 'To record it all the same, pass backfill=True'
    ) AS refused
FROM unnest(%(created_at)s::timestamptz[]) AS w (created_at)
INNER JOIN kept AS k ON k.since > w.created_at
HAVING count(*) > 0;

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
                WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s AND u.deleting_since IS NULL
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
    WHERE t.tenant_id = %(tenant_id)s AND t.id = ANY(%(user_id)s::text[]) AND t.deleting_since IS NULL
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
-- After lock_event. One statement writes the event and counts it. An id that is already stored changes nothing.
-- RETURNING keeps Citus from writing pending_uses by COPY, which row-level security forbids.
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
    RETURNING skill_id, tool_name, user_id, (created_at AT TIME ZONE 'UTC')::date AS day
),

counted AS (
    UPDATE skills AS s
    SET
        total_uses = coalesce(s.total_uses, 0) + 1,
        metrics_updated_at = date_trunc('milliseconds', now())
    FROM recorded
    WHERE s.tenant_id = %(tenant_id)s AND s.id = recorded.skill_id
),

rolled_up AS (
    INSERT INTO skill_monthly_uses AS m (tenant_id, skill_id, month, uses_to_day)
    SELECT
        %(tenant_id)s,
        skill_id,
        date_trunc('month', day::timestamp)::date,
        uses_on(day, 1)
    FROM recorded
    WHERE skill_id IS NOT NULL
    ON CONFLICT (tenant_id, skill_id, month) DO UPDATE
        SET uses_to_day = add_uses(m.uses_to_day, excluded.uses_to_day)
),

appended AS (
    INSERT INTO pending_uses (tenant_id, day, tool_name, user_id, uses)
    SELECT
        %(tenant_id)s,
        day,
        tool_name,
        user_id,
        1
    FROM recorded
    RETURNING id
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
    RETURNING skill_id, tool_name, user_id, (created_at AT TIME ZONE 'UTC')::date AS day
),

uses AS (
    SELECT
        skill_id,
        day,
        count(*) AS events
    FROM recorded
    WHERE skill_id IS NOT NULL
    GROUP BY skill_id, day
),

counted AS (
    UPDATE skills AS s
    SET
        total_uses = coalesce(s.total_uses, 0) + u.events,
        metrics_updated_at = date_trunc('milliseconds', now())
    FROM (
        SELECT
            skill_id,
            sum(events)::bigint AS events
        FROM uses
        GROUP BY skill_id
    ) AS u
    WHERE s.tenant_id = %(tenant_id)s AND s.id = u.skill_id
),

rolled_up AS (
    INSERT INTO skill_monthly_uses AS m (tenant_id, skill_id, month, uses_to_day)
    SELECT
        %(tenant_id)s,
        skill_id,
        date_trunc('month', day::timestamp)::date,
        sum_uses(uses_on(day, events))
    FROM uses
    GROUP BY skill_id, date_trunc('month', day::timestamp)
    ON CONFLICT (tenant_id, skill_id, month) DO UPDATE
        SET uses_to_day = add_uses(m.uses_to_day, excluded.uses_to_day)
),

appended AS (
    INSERT INTO pending_uses (tenant_id, day, tool_name, user_id, uses)
    SELECT
        %(tenant_id)s,
        day,
        tool_name,
        user_id,
        count(*)
    FROM recorded
    GROUP BY day, tool_name, user_id
    RETURNING id
)

SELECT count(*) AS recorded
FROM recorded;

-- name: count_uses_by_day(skill_id, days)
-- Days of UTC, oldest first, today last. MATERIALIZED keeps the function calls out of the join: row-level security
-- allows no index for a condition with a function that is not leakproof.
-- Example: days = 30
WITH days AS MATERIALIZED (
    SELECT
        t.day,
        date_trunc('month', t.day::timestamp)::date AS month
    FROM (
        SELECT (now() AT TIME ZONE 'UTC')::date - g.n AS day
        FROM generate_series(0, %(days)s::integer - 1) AS g (n)
    ) AS t
)

SELECT
    d.day,
    uses_between(m.uses_to_day, m.month, d.day, d.day) AS uses
FROM days AS d
LEFT JOIN skill_monthly_uses AS m
    ON m.tenant_id = %(tenant_id)s AND m.skill_id = %(skill_id)s AND m.month = d.month
ORDER BY d.day;

-- name: get_usage_totals(days)
-- The first and the last month are cut to the days, here and below. What is pending is added to the uses by tool and by
-- user, so that they are exact at any time. The first batch of delete_user leaves only pending uses that name the user.
-- Example: days = 30
WITH span AS NOT MATERIALIZED (
    SELECT
        (now() AT TIME ZONE 'UTC')::date AS last_day,
        (now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1) AS first_day,
        date_trunc('month', (now() AT TIME ZONE 'UTC') - interval '1 day' * (%(days)s::integer - 1))::date AS month
),

by_skill AS (
    SELECT sum(uses_between(m.uses_to_day, m.month, p.first_day, p.last_day)) AS uses
    FROM span AS p
    INNER JOIN skill_monthly_uses AS m ON m.tenant_id = %(tenant_id)s AND m.month BETWEEN p.month AND p.last_day
    GROUP BY m.skill_id
),

by_tool AS (
    SELECT sum(t.uses) AS uses
    FROM (
        SELECT
            m.tool_name,
            uses_between(m.uses_to_day, m.month, p.first_day, p.last_day) AS uses
        FROM span AS p
        INNER JOIN tool_monthly_uses AS m ON m.tenant_id = %(tenant_id)s AND m.month BETWEEN p.month AND p.last_day
        UNION ALL
        SELECT
            w.tool_name,
            w.uses
        FROM span AS p
        INNER JOIN pending_uses AS w ON w.tenant_id = %(tenant_id)s AND w.day BETWEEN p.first_day AND p.last_day
        WHERE w.tool_name IS NOT NULL
    ) AS t
    GROUP BY t.tool_name
),

by_user AS (
    SELECT sum(t.uses) AS uses
    FROM (
        SELECT
            m.user_id,
            uses_between(m.uses_to_day, m.month, p.first_day, p.last_day) AS uses
        FROM span AS p
        INNER JOIN user_monthly_uses AS m ON m.tenant_id = %(tenant_id)s AND m.month BETWEEN p.month AND p.last_day
        UNION ALL
        SELECT
            w.user_id,
            w.uses
        FROM span AS p
        INNER JOIN pending_uses AS w ON w.tenant_id = %(tenant_id)s AND w.day BETWEEN p.first_day AND p.last_day
        INNER JOIN users AS k ON k.tenant_id = %(tenant_id)s AND k.id = w.user_id
        WHERE k.deleting_since IS NULL
    ) AS t
    GROUP BY t.user_id
)

SELECT
    (SELECT coalesce(sum(t.uses), 0)::bigint FROM by_tool AS t) AS uses,
    (SELECT count(*) FILTER (WHERE t.uses > 0) FROM by_skill AS t) AS skills_used,
    (SELECT count(*) FILTER (WHERE t.uses > 0) FROM by_user AS t) AS active_users,
    (SELECT count(*) FILTER (WHERE t.uses > 0) FROM by_tool AS t) AS tools_used;

-- name: get_usage_trend(days, by)
-- All uses of the organisation by day, week or month of UTC, with and without a skill, oldest first. Weeks begin on
-- Monday. MATERIALIZED as in count_uses_by_day.
-- Example: days = 30, by = 'day'
WITH days AS MATERIALIZED (
    SELECT
        t.day,
        date_trunc('month', t.day::timestamp)::date AS month,
        date_trunc(%(by)s, t.day::timestamp)::date AS first_day
    FROM (
        SELECT (now() AT TIME ZONE 'UTC')::date - g.n AS day
        FROM generate_series(0, %(days)s::integer - 1) AS g (n)
    ) AS t
),

pending AS (
    SELECT
        day,
        sum(uses) AS uses
    FROM pending_uses
    WHERE tenant_id = %(tenant_id)s AND tool_name IS NOT NULL
    GROUP BY day
),

folded AS (
    SELECT
        month,
        sum_uses(uses_to_day) AS uses_to_day
    FROM tool_monthly_uses
    WHERE tenant_id = %(tenant_id)s AND month >= (SELECT min(d.month) FROM days AS d)
    GROUP BY month
)

SELECT
    d.first_day AS day,
    sum(uses_between(f.uses_to_day, f.month, d.day, d.day) + coalesce(p.uses, 0))::bigint AS uses
FROM days AS d
LEFT JOIN folded AS f ON f.month = d.month
LEFT JOIN pending AS p ON p.day = d.day
GROUP BY d.first_day
ORDER BY d.first_day;

-- name: get_top_skills(days, limit, status)
-- Most used first. Skills that are equally used come in id order. LATERAL with LIMIT 1 looks up the skills one by one,
-- most used first, until there are enough of the status.
-- Example: days = 30, limit = 10, status = 'published'
WITH span AS (
    SELECT
        (now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1) AS first_day,
        (now() AT TIME ZONE 'UTC')::date AS last_day
),

used AS (
    SELECT
        m.skill_id,
        sum(uses_between(m.uses_to_day, m.month, p.first_day, p.last_day))::bigint AS uses
    FROM span AS p
    INNER JOIN skill_monthly_uses AS m
        ON
            m.tenant_id = %(tenant_id)s
            AND m.month BETWEEN date_trunc('month', p.first_day::timestamp)::date AND p.last_day
    GROUP BY m.skill_id
)

SELECT
    t.skill_id,
    t.skill_name,
    t.skill_slug,
    t.average_rating,
    t.uses
FROM (
    SELECT
        s.id AS skill_id,
        s.name AS skill_name,
        s.slug AS skill_slug,
        s.average_rating,
        u.uses
    FROM (
        SELECT skill_id, uses
        FROM used
        ORDER BY uses DESC, skill_id ASC
    ) AS u
    CROSS JOIN
        LATERAL (
            SELECT k.id, k.name, k.slug, k.average_rating
            FROM skills AS k
            WHERE
                k.tenant_id = %(tenant_id)s
                AND k.id = u.skill_id
                AND CASE WHEN %(status)s::text IS NULL THEN TRUE ELSE k.status = %(status)s END
            ORDER BY k.id
            LIMIT 1
        ) AS s
    ORDER BY u.uses DESC, s.id ASC
    LIMIT %(limit)s::bigint
) AS t
WHERE t.uses > 0
ORDER BY t.uses DESC, t.skill_id ASC;

-- name: get_trending_skills(days, half_life_days, limit, status)
-- Highest score first. The score of a skill is the sum of its uses * weight over the days, where
-- weight = 1,000,000 * 0.5 ^ (age in days / half life in days), rounded half up. Today has the age 0. Skills of the
-- same score come in id order. The look-up of the skills works as in get_top_skills. After 21 half lives the weight is
-- 0: older days are not read. After 1,074 half lives power() would fail.
-- Example: days = 30, half_life_days = 7, limit = 10, status = 'published'
WITH days AS MATERIALIZED (
    SELECT
        t.day,
        date_trunc('month', t.day::timestamp)::date AS month,
        floor(1000000 * power(0.5, t.age::float8 / %(half_life_days)s::integer) + 0.5)::bigint AS weight
    FROM (
        SELECT
            g.age,
            (now() AT TIME ZONE 'UTC')::date - g.age AS day
        FROM generate_series(0, least(%(days)s::integer, 21 * %(half_life_days)s::integer) - 1) AS g (age)
    ) AS t
),

scored AS (
    SELECT
        m.skill_id,
        sum(uses_between(m.uses_to_day, m.month, d.day, d.day) * d.weight)::bigint AS score
    FROM days AS d
    INNER JOIN skill_monthly_uses AS m ON m.tenant_id = %(tenant_id)s AND m.month = d.month
    GROUP BY m.skill_id
)

SELECT
    t.skill_id,
    t.skill_name,
    t.skill_slug,
    t.average_rating,
    t.score
FROM (
    SELECT
        s.id AS skill_id,
        s.name AS skill_name,
        s.slug AS skill_slug,
        s.average_rating,
        c.score
    FROM (
        SELECT skill_id, score
        FROM scored
        ORDER BY score DESC, skill_id ASC
    ) AS c
    CROSS JOIN
        LATERAL (
            SELECT k.id, k.name, k.slug, k.average_rating
            FROM skills AS k
            WHERE
                k.tenant_id = %(tenant_id)s
                AND k.id = c.skill_id
                AND CASE WHEN %(status)s::text IS NULL THEN TRUE ELSE k.status = %(status)s END
            ORDER BY k.id
            LIMIT 1
        ) AS s
    ORDER BY c.score DESC, s.id ASC
    LIMIT %(limit)s::bigint
) AS t
WHERE t.score > 0
ORDER BY t.score DESC, t.skill_id ASC;

-- name: get_top_users(days, limit)
-- Most uses first. Users with as many uses come in id order. The look-up of the users works as in get_top_skills. What
-- is pending may name a user who is being deleted.
-- Example: days = 30, limit = 10
WITH span AS NOT MATERIALIZED (
    SELECT
        (now() AT TIME ZONE 'UTC')::date AS last_day,
        (now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1) AS first_day,
        date_trunc('month', (now() AT TIME ZONE 'UTC') - interval '1 day' * (%(days)s::integer - 1))::date AS month
),

used AS (
    SELECT
        t.user_id,
        sum(t.uses)::bigint AS uses
    FROM (
        SELECT
            m.user_id,
            uses_between(m.uses_to_day, m.month, p.first_day, p.last_day) AS uses
        FROM span AS p
        INNER JOIN user_monthly_uses AS m ON m.tenant_id = %(tenant_id)s AND m.month BETWEEN p.month AND p.last_day
        UNION ALL
        SELECT
            w.user_id,
            w.uses
        FROM span AS p
        INNER JOIN pending_uses AS w ON w.tenant_id = %(tenant_id)s AND w.day BETWEEN p.first_day AND p.last_day
        WHERE w.user_id IS NOT NULL
    ) AS t
    GROUP BY t.user_id
)

SELECT
    t.user_id,
    t.user_name,
    t.uses
FROM (
    SELECT
        u.id AS user_id,
        u.name AS user_name,
        s.uses
    FROM (
        SELECT user_id, uses
        FROM used
        ORDER BY uses DESC, user_id ASC
    ) AS s
    CROSS JOIN
        LATERAL (
            SELECT k.id, k.name
            FROM users AS k
            WHERE k.tenant_id = %(tenant_id)s AND k.id = s.user_id AND k.deleting_since IS NULL
            ORDER BY k.id
            LIMIT 1
        ) AS u
    ORDER BY s.uses DESC, u.id ASC
    LIMIT %(limit)s::bigint
) AS t
WHERE t.uses > 0
ORDER BY t.uses DESC, t.user_id ASC;

-- name: get_top_tools(days, limit)
-- Most used first. Tools that are equally used come in the order of their names.
-- Example: days = 30, limit = 10
WITH span AS NOT MATERIALIZED (
    SELECT
        (now() AT TIME ZONE 'UTC')::date AS last_day,
        (now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1) AS first_day,
        date_trunc('month', (now() AT TIME ZONE 'UTC') - interval '1 day' * (%(days)s::integer - 1))::date AS month
),

used AS (
    SELECT
        m.tool_name,
        uses_between(m.uses_to_day, m.month, p.first_day, p.last_day) AS uses
    FROM span AS p
    INNER JOIN tool_monthly_uses AS m ON m.tenant_id = %(tenant_id)s AND m.month BETWEEN p.month AND p.last_day
    UNION ALL
    SELECT
        w.tool_name,
        w.uses
    FROM span AS p
    INNER JOIN pending_uses AS w ON w.tenant_id = %(tenant_id)s AND w.day BETWEEN p.first_day AND p.last_day
    WHERE w.tool_name IS NOT NULL
)

SELECT
    t.tool_name,
    t.uses
FROM (
    SELECT
        u.tool_name,
        sum(u.uses)::bigint AS uses
    FROM used AS u
    GROUP BY u.tool_name
    ORDER BY sum(u.uses) DESC, u.tool_name ASC
    LIMIT %(limit)s::bigint
) AS t
WHERE t.uses > 0
ORDER BY t.uses DESC, t.tool_name ASC;

-- name: list_active_users(days, after_day, after_id, limit)
-- Last active users first. The last day of a month with uses is the first one whose running total is that of the last
-- day. list_skills explains the bound and the extra row. The look-up of the users works as in get_top_users.
-- Example: days = 30, after_day = NULL, after_id = NULL, limit = 10
WITH span AS NOT MATERIALIZED (
    SELECT
        (now() AT TIME ZONE 'UTC')::date AS last_day,
        (now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1) AS first_day,
        date_trunc('month', (now() AT TIME ZONE 'UTC') - interval '1 day' * (%(days)s::integer - 1))::date AS month
),

active AS (
    SELECT
        t.user_id,
        max(t.day) AS last_active_day
    FROM (
        SELECT
            m.user_id,
            m.month + array_position(m.uses_to_day, m.uses_to_day[least(p.last_day - m.month + 1, 31)]) - 1 AS day
        FROM span AS p
        INNER JOIN user_monthly_uses AS m ON m.tenant_id = %(tenant_id)s AND m.month BETWEEN p.month AND p.last_day
        UNION ALL
        SELECT
            w.user_id,
            w.day
        FROM span AS p
        INNER JOIN pending_uses AS w ON w.tenant_id = %(tenant_id)s AND w.day BETWEEN p.first_day AND p.last_day
        WHERE w.user_id IS NOT NULL
    ) AS t
    GROUP BY t.user_id
)

SELECT
    t.user_id,
    t.user_name,
    t.last_active_day
FROM (
    SELECT
        u.id AS user_id,
        u.name AS user_name,
        a.last_active_day
    FROM (
        SELECT user_id, last_active_day
        FROM active
        WHERE
            (last_active_day::timestamp AT TIME ZONE 'UTC', user_id) < (
                SELECT
                    coalesce(%(after_day)s::timestamptz, 'infinity'),
                    coalesce(%(after_id)s, '')
            )
        ORDER BY last_active_day DESC, user_id DESC
    ) AS a
    CROSS JOIN
        LATERAL (
            SELECT k.id, k.name
            FROM users AS k
            WHERE k.tenant_id = %(tenant_id)s AND k.id = a.user_id AND k.deleting_since IS NULL
            ORDER BY k.id
            LIMIT 1
        ) AS u
    ORDER BY a.last_active_day DESC, a.user_id DESC
    LIMIT %(limit)s::bigint + 1
) AS t
WHERE t.last_active_day >= (SELECT p.first_day FROM span AS p)
ORDER BY t.last_active_day DESC, t.user_id DESC;

-- name: count_skill_users(skill_id, days)
-- Reads the events of the skill on these days, from the index alone. Users who were deleted are NULL, which DISTINCT
-- leaves out.
-- Example: days = 30
SELECT count(DISTINCT user_id) AS users
FROM usage_events
WHERE
    tenant_id = %(tenant_id)s
    AND skill_id = %(skill_id)s
    AND created_at >= ((now() AT TIME ZONE 'UTC')::date - (%(days)s::integer - 1))::timestamp AT TIME ZONE 'UTC'
    AND created_at < ((now() AT TIME ZONE 'UTC')::date + 1)::timestamp AT TIME ZONE 'UTC';

-- name: list_usage_events(since, until, after_created_at, after_id, limit)
-- Oldest first. Both lower bounds are one, so that the index is read from there. Times are whole milliseconds: no event
-- has the time of the bound, a microsecond before the first millisecond from `since` on. So its id does not matter.
-- Example: since = now() - interval '30 days', until = NULL, after_created_at = NULL, after_id = NULL, limit = 10
SELECT
    e.tool_name,
    e.skill_id,
    e.user_id,
    e.metadata,
    e.created_at,
    e.id::text AS id
FROM usage_events AS e
WHERE
    e.tenant_id = %(tenant_id)s
    AND (e.created_at, e.id) > (
        SELECT
            greatest(
                %(after_created_at)s::timestamptz,
                date_trunc('milliseconds', %(since)s::timestamptz + interval '999 microseconds')
                - interval '1 microsecond',
                '-infinity'
            ),
            coalesce(%(after_id)s::uuid, '00000000-0000-0000-0000-000000000000')
    )
    AND e.created_at < (SELECT coalesce(%(until)s::timestamptz, 'infinity'))
ORDER BY e.created_at ASC, e.id ASC
LIMIT %(limit)s::bigint + 1;
