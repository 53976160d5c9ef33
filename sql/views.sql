-- The views of users, and what's new.

-- name: lock_viewer(user_id)
-- Take this before writing a view. The foreign keys of a first view alone would lock the user and the skill in any
-- order. A later view locks the user too, or it could count a view of a user whose deletion has begun.
SELECT coalesce(
    (
        SELECT u.id
        FROM users AS u
        WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s AND u.deleting_since IS NULL
        FOR KEY SHARE
    ),
    raise_not_found('user', %(user_id)s)
) AS id;

-- name: record_skill_view(user_id, skill_id, current_version)
-- After lock_viewer. last_viewed_at never goes backwards, although the later of two overlapping views may be written
-- first.
-- Example: current_version = 1
INSERT INTO user_skill_views AS v (tenant_id, user_id, skill_id, last_viewed_version)
VALUES (%(tenant_id)s, %(user_id)s, %(skill_id)s, %(current_version)s::integer)
ON CONFLICT (tenant_id, user_id, skill_id) DO UPDATE
    SET
        last_viewed_at = greatest(v.last_viewed_at, excluded.last_viewed_at),
        last_viewed_version = excluded.last_viewed_version,
        view_count = v.view_count + 1;

-- name: get_user_view(user_id, skill_id)
-- The user's last view of one skill. Read it before recording a new view, which overwrites it.
SELECT id, user_id, skill_id, last_viewed_at, last_viewed_version, view_count
FROM user_skill_views
WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND skill_id = %(skill_id)s;

-- name: get_user_views_for_skills(user_id, skill_ids)
SELECT id, user_id, skill_id, last_viewed_at, last_viewed_version, view_count
FROM user_skill_views
WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND skill_id = ANY(%(skill_ids)s::text[]);

-- name: list_recently_viewed(user_id, limit)
-- The skills that the user viewed last, newest view first. It reads and sorts all views of the user. An index on
-- (tenant_id, user_id, last_viewed_at, skill_id) was measured against that, in milliseconds per call: for 100 views of
-- the user 0.11 against 0.11, for 1,000 views 0.10 against 0.31, for 10,000 views 0.10 against 2.8. But each view
-- changes last_viewed_at, so no view would be updated in place: recording one took 110 us instead of 84, and wrote 550
-- bytes of WAL instead of 220. Users record views far more often than they list them, and few have thousands.
-- Example: limit = 10
SELECT
    v.skill_id,
    s.name AS skill_name,
    s.slug AS skill_slug,
    s.status AS skill_status,
    v.last_viewed_at,
    v.last_viewed_version,
    v.view_count
FROM (
    SELECT
        u.skill_id,
        u.last_viewed_at,
        u.last_viewed_version,
        u.view_count
    FROM user_skill_views AS u
    WHERE u.tenant_id = %(tenant_id)s AND u.user_id = %(user_id)s
    ORDER BY u.last_viewed_at DESC, u.skill_id DESC
    LIMIT %(limit)s::bigint
) AS v
INNER JOIN skills AS s ON s.tenant_id = %(tenant_id)s AND s.id = v.skill_id
ORDER BY v.last_viewed_at DESC, v.skill_id DESC;

-- name: get_whats_new_for_user(user_id, limit, days)
-- The query compares the version as well as the time. A version may commit after the view although its transaction
-- began before it. Its time is then older than the view's. An earlier version that is published again is new as well.
-- The four parts: how many of the newest skills to read, these skills, the changes among them, and the user's views.
-- Example: limit = 10, days = 30
WITH reach AS (
    -- A user with a thousand views or more usually finds enough changes among the newest thousand skills.
    SELECT count(*) / 1000 * 1000 AS skills
    FROM (
        SELECT
        FROM user_skill_views AS u
        WHERE u.tenant_id = %(tenant_id)s AND u.user_id = %(user_id)s
        ORDER BY u.skill_id
        LIMIT 1000
    ) AS viewed
),

newest AS NOT MATERIALIZED (
    -- PostgreSQL 16 does not know the order of a materialized part, and would look up a thousand views to sort them.
    SELECT t.id, t.updated_at, t.published_version
    FROM skills AS t
    WHERE
        t.tenant_id = %(tenant_id)s
        AND t.status = 'published'
        AND t.updated_at >= now() - make_interval(hours => 24 * %(days)s::integer)
    ORDER BY t.updated_at DESC, t.id DESC
    LIMIT (SELECT r.skills FROM reach AS r)
),

changes_of_newest AS (
    -- LATERAL with LIMIT 1 forces one index probe per skill. A plain join may read all of the user's views for each.
    SELECT n.id, n.updated_at, n.published_version, v.last_viewed_at, v.view_count, v.last_viewed_version
    FROM newest AS n
    CROSS JOIN
        LATERAL (
            SELECT u.last_viewed_at, u.view_count, u.last_viewed_version
            FROM user_skill_views AS u
            WHERE u.tenant_id = %(tenant_id)s AND u.user_id = %(user_id)s AND u.skill_id = n.id
            ORDER BY u.skill_id
            LIMIT 1
        ) AS v
    WHERE n.updated_at > v.last_viewed_at OR n.published_version <> coalesce(v.last_viewed_version, 0)
    ORDER BY n.updated_at DESC, n.id DESC
    LIMIT %(limit)s::bigint
),

views AS MATERIALIZED (
    -- Read all views only if the newest skills do not fill the limit and may not be all skills of these days.
    SELECT u.skill_id, u.last_viewed_at, u.view_count, u.last_viewed_version
    FROM user_skill_views AS u
    WHERE
        u.tenant_id = %(tenant_id)s
        AND u.user_id = %(user_id)s
        AND (SELECT count(*) FROM changes_of_newest) < %(limit)s::bigint
        AND (SELECT count(*) FROM newest) = (SELECT r.skills FROM reach AS r)
)

SELECT
    c.id AS skill_id,
    s.name AS skill_name,
    s.slug AS skill_slug,
    s.category,
    c.updated_at,
    c.last_viewed_at,
    c.view_count,
    c.last_viewed_version,
    c.published_version
FROM (
    SELECT n.id, n.updated_at, n.published_version, n.last_viewed_at, n.view_count, n.last_viewed_version
    FROM changes_of_newest AS n
    WHERE NOT EXISTS (SELECT FROM views)
    UNION ALL
    (
        -- One scan of skills_pkey finds the skills of all views, which costs less than a probe per view. PostgreSQL
        -- never runs a FULL JOIN as a nested loop, which would compare each view with each skill. The condition is a
        -- CASE, because PostgreSQL would turn the FULL JOIN into another join if a plain condition excluded NULLs. The
        -- time is compared there, not in the subquery: PostgreSQL 16 would scan all skills of these days for each id.
        SELECT t.id, t.updated_at, t.published_version, v.last_viewed_at, v.view_count, v.last_viewed_version
        FROM views AS v
        FULL JOIN (
            SELECT a.id, a.updated_at, a.published_version
            FROM skills AS a
            WHERE
                a.tenant_id = %(tenant_id)s
                AND a.id = ANY(ARRAY(SELECT w.skill_id FROM views AS w))
                AND a.status = 'published'
        ) AS t ON t.id = v.skill_id
        WHERE
            CASE
                WHEN t.updated_at < now() - make_interval(hours => 24 * %(days)s::integer) THEN FALSE
                WHEN t.updated_at > v.last_viewed_at THEN TRUE
                ELSE t.published_version <> coalesce(v.last_viewed_version, 0)
            END
        ORDER BY t.updated_at DESC, t.id DESC
        LIMIT %(limit)s::bigint
    )
) AS c
CROSS JOIN
    LATERAL (
        SELECT k.name, k.slug, k.category
        FROM skills AS k
        WHERE k.tenant_id = %(tenant_id)s AND k.id = c.id
        ORDER BY k.id
        LIMIT 1
    ) AS s
ORDER BY c.updated_at DESC, c.id DESC;

-- name: count_whats_new(user_id, days)
-- The number of rows of get_whats_new_for_user without a limit. Its parts are those of that query, which explains them,
-- without LIMIT and without names.
-- Example: days = 30
WITH reach AS (
    SELECT count(*) / 1000 * 1000 AS skills
    FROM (
        SELECT
        FROM user_skill_views AS u
        WHERE u.tenant_id = %(tenant_id)s AND u.user_id = %(user_id)s
        ORDER BY u.skill_id
        LIMIT 1000
    ) AS viewed
),

newest AS NOT MATERIALIZED (
    SELECT t.id, t.updated_at, t.published_version
    FROM skills AS t
    WHERE
        t.tenant_id = %(tenant_id)s
        AND t.status = 'published'
        AND t.updated_at >= now() - make_interval(hours => 24 * %(days)s::integer)
    ORDER BY t.updated_at DESC, t.id DESC
    LIMIT (SELECT r.skills FROM reach AS r)
),

few AS MATERIALIZED (
    -- Whether the newest skills are all skills of these days. If so, the other part reads no view.
    SELECT count(*) < (SELECT r.skills FROM reach AS r) AS enough
    FROM newest
),

views AS MATERIALIZED (
    SELECT u.skill_id, u.last_viewed_at, u.last_viewed_version
    FROM user_skill_views AS u
    WHERE u.tenant_id = %(tenant_id)s AND u.user_id = %(user_id)s AND NOT (SELECT f.enough FROM few AS f)
)

SELECT
    CASE
        WHEN (SELECT f.enough FROM few AS f)
            THEN (
                SELECT count(*)
                FROM newest AS n
                CROSS JOIN
                    LATERAL (
                        SELECT u.last_viewed_at, u.last_viewed_version
                        FROM user_skill_views AS u
                        WHERE u.tenant_id = %(tenant_id)s AND u.user_id = %(user_id)s AND u.skill_id = n.id
                        ORDER BY u.skill_id
                        LIMIT 1
                    ) AS v
                WHERE n.updated_at > v.last_viewed_at OR n.published_version <> coalesce(v.last_viewed_version, 0)
            )
        ELSE (
            SELECT count(*)
            FROM views AS v
            FULL JOIN (
                SELECT a.id, a.updated_at, a.published_version
                FROM skills AS a
                WHERE
                    a.tenant_id = %(tenant_id)s
                    AND a.id = ANY(ARRAY(SELECT w.skill_id FROM views AS w))
                    AND a.status = 'published'
            ) AS t ON t.id = v.skill_id
            WHERE
                CASE
                    WHEN t.updated_at < now() - make_interval(hours => 24 * %(days)s::integer) THEN FALSE
                    WHEN t.updated_at > v.last_viewed_at THEN TRUE
                    ELSE t.published_version <> coalesce(v.last_viewed_version, 0)
                END
        )
    END AS whats_new;

-- name: detect_changes(user_id, skill_id)
SELECT
    s.id AS skill_id,
    v.last_viewed_at,
    v.last_viewed_version,
    s.published_version AS current_version,
    coalesce(s.published_version > coalesce(v.last_viewed_version, 0), FALSE) AS version_rose,
    coalesce(s.published_version <> coalesce(v.last_viewed_version, 0), FALSE) AS version_changed,
    (
        SELECT count(*) FROM skill_feedback AS f
        WHERE f.tenant_id = %(tenant_id)s AND f.skill_id = s.id AND f.created_at > v.last_viewed_at
    ) AS feedback_since,
    s.edited_at > v.last_viewed_at AS content_changed
FROM user_skill_views AS v
INNER JOIN skills AS s ON s.tenant_id = v.tenant_id AND s.id = v.skill_id
WHERE
    v.tenant_id = %(tenant_id)s
    AND s.tenant_id = %(tenant_id)s
    AND v.user_id = %(user_id)s
    AND v.skill_id = %(skill_id)s;

-- name: prepare_view(user_id, skill_id)
-- After lock_viewer. Without a view of the user it writes one that open_skill knows by its time: none has happened yet.
-- With one it locks that row and changes nothing: a merge would otherwise move it before open_skill.
INSERT INTO user_skill_views AS v (tenant_id, user_id, skill_id, last_viewed_at)
VALUES (%(tenant_id)s, %(user_id)s, %(skill_id)s, '-infinity')
ON CONFLICT (tenant_id, user_id, skill_id) DO UPDATE
    SET view_count = v.view_count
    WHERE FALSE;

-- name: open_skill(user_id, skill_id)
-- After prepare_view. Runs detect_changes and records a view in one statement, which has one snapshot. So the changes
-- are those before this view, and the recorded version is the returned one.
-- Run first: prepare_view
WITH changes AS MATERIALIZED (
    SELECT
        s.id AS skill_id,
        v.last_viewed_at,
        v.last_viewed_version,
        s.published_version AS current_version,
        coalesce(s.published_version > coalesce(v.last_viewed_version, 0), FALSE) AS version_rose,
        coalesce(s.published_version <> coalesce(v.last_viewed_version, 0), FALSE) AS version_changed,
        (
            SELECT count(*) FROM skill_feedback AS f
            WHERE f.tenant_id = %(tenant_id)s AND f.skill_id = s.id AND f.created_at > v.last_viewed_at
        ) AS feedback_since,
        s.edited_at > v.last_viewed_at AS content_changed
    FROM user_skill_views AS v
    INNER JOIN skills AS s ON s.tenant_id = v.tenant_id AND s.id = v.skill_id
    WHERE
        v.tenant_id = %(tenant_id)s
        AND s.tenant_id = %(tenant_id)s
        AND v.user_id = %(user_id)s
        AND v.skill_id = %(skill_id)s
        AND v.last_viewed_at > '-infinity'
),

recorded AS (
    UPDATE user_skill_views AS v
    SET
        last_viewed_at = greatest(v.last_viewed_at, date_trunc('milliseconds', now())),
        last_viewed_version = s.published_version,
        view_count = CASE WHEN v.last_viewed_at > '-infinity' THEN v.view_count + 1 ELSE 1 END
    FROM skills AS s
    WHERE
        v.tenant_id = %(tenant_id)s
        AND v.user_id = %(user_id)s
        AND v.skill_id = %(skill_id)s
        AND s.tenant_id = %(tenant_id)s
        AND s.id = %(skill_id)s
)

SELECT
    skill_id,
    last_viewed_at,
    last_viewed_version,
    current_version,
    version_rose,
    version_changed,
    feedback_since,
    content_changed
FROM changes;
