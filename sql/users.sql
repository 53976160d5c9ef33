-- The users of an organisation. All lists of users but list_users_in_deletion, and reports over the organisation, leave
-- out a user who is being deleted. Rows that are not deleted yet are still listed with that user's id, but without a
-- name.
-- A user is deleted in batches of at most `limit` rows of each table. After it has locked users and skills, a batch
-- waits for nobody: a row that another transaction has locked is left for the next batch. So it cannot deadlock with
-- the deletion of a skill, and holds nobody up for long.

-- name: create_user(id, email, name, role, created_at)
-- Example: id = 'skilldb-explain', email = 'skilldb-explain@example.com', name = 'Example', role = 'member',
-- created_at = NULL
INSERT INTO users (tenant_id, id, email, name, role, created_at, updated_at)
VALUES (
    %(tenant_id)s,
    coalesce(%(id)s, gen_random_uuid()::text),
    %(email)s,
    %(name)s,
    %(role)s,
    date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now())),
    date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now()))
)
RETURNING id, email, name, role, created_at, updated_at;

-- name: get_user(user_id)
SELECT id, email, name, role, created_at, updated_at
FROM users
WHERE tenant_id = %(tenant_id)s AND id = %(user_id)s AND deleting_since IS NULL;

-- name: get_user_by_email(email)
-- Example: email = 'skilldb-explain@example.com'
SELECT id, email, name, role, created_at, updated_at
FROM users
WHERE tenant_id = %(tenant_id)s AND email = %(email)s AND deleting_since IS NULL;

-- name: list_users(after_email, limit)
-- By email, which is unique. list_skills explains the extra row and the bound in a subquery.
-- Example: after_email = NULL, limit = 10
SELECT id, email, name, role, created_at, updated_at
FROM users
WHERE
    tenant_id = %(tenant_id)s
    AND email >= (SELECT coalesce(%(after_email)s, ''))
    AND CASE WHEN %(after_email)s IS NULL THEN TRUE ELSE email <> %(after_email)s END
    AND deleting_since IS NULL
ORDER BY email
LIMIT %(limit)s::bigint + 1;

-- name: list_users_of_role(role, after_email, limit)
-- Works like list_users. A query of its own, so that the role is an index condition.
-- Example: role = 'admin', after_email = NULL, limit = 10
SELECT id, email, name, role, created_at, updated_at
FROM users
WHERE
    tenant_id = %(tenant_id)s
    AND role = %(role)s
    AND email >= (SELECT coalesce(%(after_email)s, ''))
    AND CASE WHEN %(after_email)s IS NULL THEN TRUE ELSE email <> %(after_email)s END
    AND deleting_since IS NULL
ORDER BY email
LIMIT %(limit)s::bigint + 1;

-- name: list_users_in_deletion(role, after_email, limit)
-- Works like list_users. A query of its own, so that the index of these users serves it.
-- Example: role = NULL, after_email = NULL, limit = 10
SELECT id, email, name, role, created_at, updated_at
FROM users
WHERE
    tenant_id = %(tenant_id)s
    AND deleting_since IS NOT NULL
    AND email >= (SELECT coalesce(%(after_email)s, ''))
    AND CASE WHEN %(after_email)s IS NULL THEN TRUE ELSE email <> %(after_email)s END
    AND CASE WHEN %(role)s::text IS NULL THEN TRUE ELSE role = %(role)s END
ORDER BY email
LIMIT %(limit)s::bigint + 1;

-- name: update_user(user_id, changes)
-- After lock_user or lock_user_key. update_skill explains `changes`. Whole rows are compared, so that NULL equals NULL.
-- Example: changes = '{"name": "Another example"}'
WITH edit AS (
    SELECT
        n.email,
        n.name,
        n.role,
        CASE WHEN old <> n THEN 'infinity' ELSE '-infinity' END::timestamptz AS latest
    FROM users AS old
    CROSS JOIN LATERAL jsonb_populate_record(old, %(changes)s::jsonb) AS n
    WHERE old.tenant_id = %(tenant_id)s AND old.id = %(user_id)s
)

UPDATE users AS u
SET
    email = edit.email,
    name = edit.name,
    role = edit.role,
    updated_at = greatest(u.updated_at, least(edit.latest, date_trunc('milliseconds', now())))
FROM edit
WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s
RETURNING u.id, u.email, u.name, u.role, u.created_at, u.updated_at;

-- name: lock_successor_before(user_id, successor_id)
-- Before lock_user_for_deletion, if the successor's id comes first. lock_successor_after locks any other successor.
-- lock_author explains the lock.
-- Example: user_id = 'skilldb-explain-2', successor_id = 'skilldb-explain'
-- Run first: create_user
SELECT
    CASE
        WHEN %(successor_id)s < %(user_id)s AND (
            SELECT u.id
            FROM users AS u
            WHERE u.tenant_id = %(tenant_id)s AND u.id = %(successor_id)s AND u.deleting_since IS NULL
            FOR SHARE
        ) IS NULL THEN raise_not_found('user', %(successor_id)s)
    END AS missing;

-- name: lock_user_for_deletion(user_id)
-- Waits for every transaction that names the user. It sees what they wrote, because the next steps begin after it.
SELECT id
FROM users
WHERE tenant_id = %(tenant_id)s AND id = %(user_id)s
FOR UPDATE;

-- name: lock_successor_after(user_id, successor_id)
-- Example: user_id = 'skilldb', successor_id = 'skilldb-explain'
-- Run first: create_user
SELECT
    CASE
        WHEN %(successor_id)s > %(user_id)s AND (
            SELECT u.id
            FROM users AS u
            WHERE u.tenant_id = %(tenant_id)s AND u.id = %(successor_id)s AND u.deleting_since IS NULL
            FOR SHARE
        ) IS NULL THEN raise_not_found('user', %(successor_id)s)
    END AS missing;

-- name: mark_user_for_deletion(user_id)
-- From the commit on, nothing new names the user. The name goes at once, so that no list shows it.
UPDATE users
SET
    deleting_since = date_trunc('milliseconds', now()),
    name = NULL
WHERE tenant_id = %(tenant_id)s AND id = %(user_id)s AND deleting_since IS NULL;

-- name: lock_skills_of_user(user_id, limit)
-- In id order, the skills that the next two steps may change.
-- Example: limit = 100
SELECT s.id
FROM skills AS s
WHERE
    s.tenant_id = %(tenant_id)s
    AND s.id = ANY(
        ARRAY(
            (
                SELECT r.skill_id
                FROM ratings AS r
                WHERE r.tenant_id = %(tenant_id)s AND r.user_id = %(user_id)s
                ORDER BY r.skill_id
                LIMIT %(limit)s::bigint
            )
            UNION
            (
                SELECT a.id
                FROM skills AS a
                WHERE a.tenant_id = %(tenant_id)s AND a.author_id = %(user_id)s
                ORDER BY a.id
                LIMIT %(limit)s::bigint
            )
        )
    )
ORDER BY s.id
FOR NO KEY UPDATE;

-- name: withdraw_ratings_of_user(user_id, limit)
-- After lock_skills_of_user. If one of those ratings was deleted meanwhile, another skill takes its place, and is
-- skipped if it is locked. Only ratings that this deletes are withdrawn, so each is withdrawn once.
-- Example: limit = 100
WITH locked AS MATERIALIZED (
    SELECT s.id
    FROM skills AS s
    WHERE
        s.tenant_id = %(tenant_id)s
        AND s.id = ANY(
            ARRAY(
                SELECT r.skill_id
                FROM ratings AS r
                WHERE r.tenant_id = %(tenant_id)s AND r.user_id = %(user_id)s
                ORDER BY r.skill_id
                LIMIT %(limit)s::bigint
            )
        )
    FOR NO KEY UPDATE SKIP LOCKED
),

withdrawn AS (
    DELETE FROM ratings
    WHERE
        tenant_id = %(tenant_id)s
        AND user_id = %(user_id)s
        AND skill_id = ANY(ARRAY(SELECT k.id FROM locked AS k))
    RETURNING skill_id, rating
)

UPDATE skills AS s
SET
    rating_count = s.rating_count - 1,
    rating_sum = s.rating_sum - w.rating,
    average_rating = mean_rating(s.rating_sum - w.rating, s.rating_count - 1),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM withdrawn AS w
WHERE s.tenant_id = %(tenant_id)s AND s.id = w.skill_id;

-- name: pass_on_skills(user_id, successor_id, limit)
-- After lock_skills_of_user. The author is no content: updated_at stays. The words of a skill contain the author's
-- name. The subquery hides a NULL: Citus 13.2 would end the server's process.
-- Example: successor_id = NULL, limit = 100
WITH locked AS MATERIALIZED (
    SELECT a.id
    FROM skills AS a
    WHERE a.tenant_id = %(tenant_id)s AND a.author_id = %(user_id)s
    ORDER BY a.id
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
),

passed AS (
    UPDATE skills
    SET author_id = %(successor_id)s
    WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT k.id FROM locked AS k))
    RETURNING id, name, slug, description, tags
),

indexed AS (
    UPDATE skill_search AS w
    SET words = search_document(p.name, p.slug, p.tags, p.description, u.name)
    FROM passed AS p
    LEFT JOIN users AS u ON u.tenant_id = %(tenant_id)s AND u.id = (SELECT %(successor_id)s)
    WHERE w.tenant_id = %(tenant_id)s AND w.skill_id = p.id
)

SELECT count(*) AS passed
FROM passed;

-- name: pass_on_versions(user_id, successor_id, limit)
-- ORDER BY a column that is equal in all rows, here and below: the rows come as the index has them, without a sort.
-- Example: successor_id = NULL, limit = 100
WITH locked AS MATERIALIZED (
    SELECT v.id
    FROM skill_versions AS v
    WHERE v.tenant_id = %(tenant_id)s AND v.created_by = %(user_id)s
    ORDER BY v.created_by
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE skill_versions
SET created_by = %(successor_id)s
WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT k.id FROM locked AS k));

-- name: pass_on_runs(user_id, successor_id, limit)
-- Example: successor_id = NULL, limit = 100
WITH locked AS MATERIALIZED (
    SELECT b.id
    FROM benchmark_runs AS b
    WHERE b.tenant_id = %(tenant_id)s AND b.triggered_by = %(user_id)s
    ORDER BY b.triggered_by
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE benchmark_runs
SET triggered_by = %(successor_id)s
WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT k.id FROM locked AS k));

-- name: delete_views_of_user(user_id, limit)
-- Example: limit = 100
WITH locked AS MATERIALIZED (
    SELECT v.skill_id
    FROM user_skill_views AS v
    WHERE v.tenant_id = %(tenant_id)s AND v.user_id = %(user_id)s
    ORDER BY v.skill_id
    LIMIT %(limit)s::bigint
    FOR UPDATE SKIP LOCKED
)

DELETE FROM user_skill_views
WHERE
    tenant_id = %(tenant_id)s
    AND user_id = %(user_id)s
    AND skill_id = ANY(ARRAY(SELECT k.skill_id FROM locked AS k));

-- name: anonymise_usage_of_user(user_id, limit)
-- The subquery hides who the user is. For a user of many events the planner would read the table from its beginning.
-- Example: limit = 100
WITH locked AS MATERIALIZED (
    SELECT e.id
    FROM usage_events AS e
    WHERE e.tenant_id = %(tenant_id)s AND e.user_id = (SELECT %(user_id)s)
    ORDER BY e.user_id
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE usage_events
SET user_id = NULL
WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT k.id FROM locked AS k));

-- name: anonymise_pending_uses_of_user(user_id, limit)
-- fold_uses has locked the skipped rows. It then sees that the user is being deleted.
-- Example: limit = 100
WITH locked AS MATERIALIZED (
    SELECT p.id
    FROM pending_uses AS p
    WHERE p.tenant_id = %(tenant_id)s AND p.user_id = %(user_id)s
    ORDER BY p.user_id
    LIMIT %(limit)s::bigint
    FOR UPDATE SKIP LOCKED
)

UPDATE pending_uses
SET user_id = NULL
WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT k.id FROM locked AS k));

-- name: anonymise_feedback_of_user(user_id, limit)
-- Example: limit = 100
WITH locked AS MATERIALIZED (
    SELECT f.id
    FROM skill_feedback AS f
    WHERE f.tenant_id = %(tenant_id)s AND f.user_id = %(user_id)s
    ORDER BY f.user_id
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE skill_feedback
SET user_id = NULL
WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT k.id FROM locked AS k));

-- name: anonymise_reviews_of_user(user_id, limit)
-- Example: limit = 100
WITH locked AS MATERIALIZED (
    SELECT f.id
    FROM skill_feedback AS f
    WHERE f.tenant_id = %(tenant_id)s AND f.reviewed_by = %(user_id)s
    ORDER BY f.reviewed_by
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE skill_feedback
SET reviewed_by = NULL
WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT k.id FROM locked AS k));

-- name: anonymise_measurements_of_user(user_id, limit)
-- anonymise_usage_of_user explains the subquery.
-- Example: limit = 100
WITH locked AS MATERIALIZED (
    SELECT m.id
    FROM token_measurements AS m
    WHERE m.tenant_id = %(tenant_id)s AND m.user_id = (SELECT %(user_id)s)
    ORDER BY m.user_id
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE token_measurements
SET user_id = NULL
WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT k.id FROM locked AS k));

-- name: delete_monthly_uses_of_user(user_id)
-- One row for each month. Reports leave the user out from the first batch on, also while pending uses name the user.
DELETE FROM user_monthly_uses
WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s;

-- name: delete_user(user_id)
-- The last step of each batch: the user goes once no row names the user.
-- Example: user_id = 'skilldb-explain'
-- Run first: create_user
WITH gone AS (
    DELETE FROM users
    WHERE
        tenant_id = %(tenant_id)s
        AND id = %(user_id)s
        AND NOT EXISTS (
            SELECT FROM ratings AS r
            WHERE r.tenant_id = %(tenant_id)s AND r.user_id = %(user_id)s
        )
        AND NOT EXISTS (
            SELECT FROM skills AS s
            WHERE s.tenant_id = %(tenant_id)s AND s.author_id = %(user_id)s
        )
        AND NOT EXISTS (
            SELECT FROM skill_versions AS v
            WHERE v.tenant_id = %(tenant_id)s AND v.created_by = %(user_id)s
        )
        AND NOT EXISTS (
            SELECT FROM benchmark_runs AS b
            WHERE b.tenant_id = %(tenant_id)s AND b.triggered_by = %(user_id)s
        )
        AND NOT EXISTS (
            SELECT FROM user_skill_views AS w
            WHERE w.tenant_id = %(tenant_id)s AND w.user_id = %(user_id)s
        )
        AND NOT EXISTS (
            SELECT FROM usage_events AS e
            WHERE e.tenant_id = %(tenant_id)s AND e.user_id = %(user_id)s
        )
        AND NOT EXISTS (
            SELECT FROM pending_uses AS p
            WHERE p.tenant_id = %(tenant_id)s AND p.user_id = %(user_id)s
        )
        AND NOT EXISTS (
            SELECT FROM skill_feedback AS f
            WHERE f.tenant_id = %(tenant_id)s AND f.user_id = %(user_id)s
        )
        AND NOT EXISTS (
            SELECT FROM skill_feedback AS g
            WHERE g.tenant_id = %(tenant_id)s AND g.reviewed_by = %(user_id)s
        )
        AND NOT EXISTS (
            SELECT FROM token_measurements AS m
            WHERE m.tenant_id = %(tenant_id)s AND m.user_id = %(user_id)s
        )
    RETURNING id
)

SELECT
    count(u.id) > 0 AS found,
    count(u.id) = (SELECT count(*) FROM gone) AS done
FROM users AS u
WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s;
