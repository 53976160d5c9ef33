-- The views of users, and what's new.

-- name: record_skill_view(user_id, skill_id, current_version)
-- A first view locks the user before the skill. The foreign keys alone would lock them in any order.
-- last_viewed_at never goes backwards, although the later of two overlapping views may be written first.
-- Example: current_version = 1
INSERT INTO user_skill_views AS v (tenant_id, user_id, skill_id, last_viewed_version)
VALUES (
    %(tenant_id)s,
    coalesce(
        CASE
            WHEN EXISTS (
                SELECT FROM user_skill_views AS w
                WHERE w.tenant_id = %(tenant_id)s AND w.user_id = %(user_id)s AND w.skill_id = %(skill_id)s
            ) THEN %(user_id)s
            ELSE (
                SELECT u.id FROM users AS u
                WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s
                FOR KEY SHARE
            )
        END,
        raise_not_found('user', %(user_id)s)
    ),
    %(skill_id)s,
    %(current_version)s::integer
)
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
-- The skills that the user viewed last, newest view first. It reads and sorts all views of the user: an index by time
-- would prevent in-place updates of user_skill_views, because each view changes that time.
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
-- began before it. Its time is then older than the view's.
-- A user with a thousand views or more usually finds enough changes among the newest thousand skills. If these do not
-- fill the limit, and for all other users, the query looks up each of the user's views. LATERAL with LIMIT 1 forces one
-- index probe per row. A plain join may read all of the user's views for each skill.
-- The four parts: the newest skills, the user's views of them, all other views to look up, and the final selection.
-- Example: limit = 10, days = 30
WITH newest AS (
    SELECT t.id, t.updated_at, t.published_version
    FROM skills AS t
    WHERE
        t.tenant_id = %(tenant_id)s
        AND t.status = 'published'
        AND t.updated_at >= now() - make_interval(hours => 24 * %(days)s::integer)
        AND (
            SELECT count(*) = 1000
            FROM (
                SELECT
                FROM user_skill_views AS u
                WHERE u.tenant_id = %(tenant_id)s AND u.user_id = %(user_id)s
                ORDER BY u.skill_id
                LIMIT 1000
            ) AS viewed
        )
    ORDER BY t.updated_at DESC, t.id DESC
    LIMIT 1000
),

views_of_newest AS (
    SELECT v.skill_id, v.last_viewed_at, v.view_count, v.last_viewed_version
    FROM newest AS n
    CROSS JOIN
        LATERAL (
            SELECT u.skill_id, u.last_viewed_at, u.view_count, u.last_viewed_version
            FROM user_skill_views AS u
            WHERE u.tenant_id = %(tenant_id)s AND u.user_id = %(user_id)s AND u.skill_id = n.id
            ORDER BY u.skill_id
            LIMIT 1
        ) AS v
    WHERE n.updated_at > v.last_viewed_at OR n.published_version > coalesce(v.last_viewed_version, 0)
    ORDER BY n.updated_at DESC, n.id DESC
    LIMIT %(limit)s::bigint
),

views AS (
    SELECT n.skill_id, n.last_viewed_at, n.view_count, n.last_viewed_version
    FROM views_of_newest AS n
    WHERE (SELECT count(*) FROM views_of_newest) = %(limit)s::bigint
    UNION ALL
    SELECT u.skill_id, u.last_viewed_at, u.view_count, u.last_viewed_version
    FROM user_skill_views AS u
    WHERE
        u.tenant_id = %(tenant_id)s
        AND u.user_id = %(user_id)s
        AND (SELECT count(*) FROM views_of_newest) < %(limit)s::bigint
)

SELECT
    s.id AS skill_id,
    s.name AS skill_name,
    s.slug AS skill_slug,
    s.category,
    s.updated_at,
    v.last_viewed_at,
    v.view_count,
    v.last_viewed_version,
    s.published_version
FROM views AS v
CROSS JOIN
    LATERAL (
        SELECT t.id, t.name, t.slug, t.category, t.updated_at, t.published_version
        FROM skills AS t
        WHERE
            t.tenant_id = %(tenant_id)s
            AND t.id = v.skill_id
            AND t.status = 'published'
            AND t.updated_at >= now() - make_interval(hours => 24 * %(days)s::integer)
        ORDER BY t.id
        LIMIT 1
    ) AS s
WHERE s.updated_at > v.last_viewed_at OR s.published_version > coalesce(v.last_viewed_version, 0)
ORDER BY s.updated_at DESC, s.id DESC
LIMIT %(limit)s::bigint;

-- name: detect_changes(user_id, skill_id)
SELECT
    s.id AS skill_id,
    v.last_viewed_at,
    v.last_viewed_version,
    s.published_version AS current_version,
    coalesce(s.published_version > coalesce(v.last_viewed_version, 0), false) AS version_rose,
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

-- name: open_skill(user_id, skill_id)
-- Runs detect_changes and record_skill_view in one statement, which has one snapshot. So the changes are those before
-- this view, and the recorded version is the returned one.
WITH changes AS (
    SELECT
        s.id AS skill_id,
        v.last_viewed_at,
        v.last_viewed_version,
        s.published_version AS current_version,
        coalesce(s.published_version > coalesce(v.last_viewed_version, 0), false) AS version_rose,
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
),

recorded AS (
    -- max() returns one row even if the skill does not exist, so raise_not_found() runs. record_skill_view explains
    -- the lock of the user.
    INSERT INTO user_skill_views AS v (tenant_id, user_id, skill_id, last_viewed_version)
    SELECT
        %(tenant_id)s,
        coalesce(
            CASE
                WHEN EXISTS (
                    SELECT FROM user_skill_views AS w
                    WHERE w.tenant_id = %(tenant_id)s AND w.user_id = %(user_id)s AND w.skill_id = %(skill_id)s
                ) THEN %(user_id)s
                ELSE (
                    SELECT u.id FROM users AS u
                    WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s
                    FOR KEY SHARE
                )
            END,
            raise_not_found('user', %(user_id)s)
        ),
        coalesce(max(s.id), raise_not_found('skill', %(skill_id)s)),
        max(s.published_version)
    FROM skills AS s
    WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
    ON CONFLICT (tenant_id, user_id, skill_id) DO UPDATE
        SET
            last_viewed_at = greatest(v.last_viewed_at, excluded.last_viewed_at),
            last_viewed_version = excluded.last_viewed_version,
            view_count = v.view_count + 1
)

SELECT
    skill_id,
    last_viewed_at,
    last_viewed_version,
    current_version,
    version_rose,
    feedback_since,
    content_changed
FROM changes;
