-- Row locks that a transaction takes first. Every transaction locks the organisation before users, users before skills,
-- and rows of each table in id order. Transactions that follow one order cannot deadlock. A missing row raises an error
-- before anything is written. A user who is being deleted counts as missing: delete_user waits for the transactions
-- that hold the lock, and none takes it afterwards.

-- name: lock_horizon()
-- Take this before changing rollups that no skill's lock protects, or the horizon: one fold, repair or move at a time.
-- The UPDATE changes nothing, but it locks the row like FOR NO KEY UPDATE. An organisation without a row gets it here.
-- Of other callers only those wait who record what is older than yesterday.
INSERT INTO horizons AS h (tenant_id)
VALUES (%(tenant_id)s)
ON CONFLICT (tenant_id) DO UPDATE
    SET events_kept_from = h.events_kept_from
    WHERE FALSE;

-- name: lock_tenant()
-- Take this before changing the organisation, but not the slug. NO KEY lets foreign-key checks pass.
SELECT coalesce(
    (
        SELECT t.id
        FROM tenants AS t
        WHERE t.id = %(tenant_id)s
        FOR NO KEY UPDATE
    ),
    raise_not_found('tenant', %(tenant_id)s)
) AS id;

-- name: lock_tenant_key()
-- Take this before changing the slug. lock_skill_key explains the lock.
SELECT coalesce(
    (
        SELECT t.id
        FROM tenants AS t
        WHERE t.id = %(tenant_id)s
        FOR UPDATE
    ),
    raise_not_found('tenant', %(tenant_id)s)
) AS id;

-- name: lock_user(user_id)
-- Take this before changing a user, but not the user's email. NO KEY lets foreign-key checks and other writers pass.
SELECT coalesce(
    (
        SELECT u.id
        FROM users AS u
        WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s AND u.deleting_since IS NULL
        FOR NO KEY UPDATE
    ),
    raise_not_found('user', %(user_id)s)
) AS id;

-- name: lock_user_key(user_id)
-- Take this before changing the email. lock_skill_key explains the lock.
SELECT coalesce(
    (
        SELECT u.id
        FROM users AS u
        WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s AND u.deleting_since IS NULL
        FOR UPDATE
    ),
    raise_not_found('user', %(user_id)s)
) AS id;

-- name: lock_skill(skill_id)
-- Take this before changing a skill's counters or versions. NO KEY lets foreign-key checks pass.
SELECT coalesce(
    (
        SELECT s.id
        FROM skills AS s
        WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
        FOR NO KEY UPDATE
    ),
    raise_not_found('skill', %(skill_id)s)
) AS id;

-- name: lock_skill_key(skill_id)
-- Take this before changing the slug. Changing a key column needs FOR UPDATE. A weaker lock lets foreign-key checks in,
-- and the UPDATE then waits for them.
SELECT coalesce(
    (
        SELECT s.id
        FROM skills AS s
        WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
        FOR UPDATE
    ),
    raise_not_found('skill', %(skill_id)s)
) AS id;

-- name: lock_user_and_skill(user_id, skill_id)
-- Lock the user first; otherwise the INSERT's foreign key locks it after the skill. NULL locks nothing. CASE evaluates
-- its conditions in order (PostgreSQL documentation, "Expression Evaluation Rules").
SELECT
    CASE
        WHEN %(user_id)s::text IS NOT NULL AND (
            SELECT u.id
            FROM users AS u
            WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s AND u.deleting_since IS NULL
            FOR KEY SHARE
        ) IS NULL THEN raise_not_found('user', %(user_id)s)
        WHEN %(skill_id)s::text IS NOT NULL AND (
            SELECT s.id
            FROM skills AS s
            WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
            FOR NO KEY UPDATE
        ) IS NULL THEN raise_not_found('skill', %(skill_id)s)
    END AS missing;

-- name: lock_users(user_ids)
-- Lock many users, in id order. The ids must be distinct.
WITH locked AS (
    SELECT u.id
    FROM users AS u
    WHERE u.tenant_id = %(tenant_id)s AND u.id = ANY(%(user_ids)s::text[]) AND u.deleting_since IS NULL
    ORDER BY u.id
    FOR KEY SHARE
)

SELECT
    CASE
        WHEN (SELECT count(*) FROM locked) < cardinality(%(user_ids)s::text[])
            THEN raise_not_found(
                'user',
                (
                    SELECT min(w.id) FROM unnest(%(user_ids)s::text[]) AS w (id)
                    WHERE NOT EXISTS (
                        SELECT FROM locked
                        WHERE locked.id = w.id
                    )
                )
            )
    END AS missing;

-- name: lock_author(author_id)
-- Take this before a skill gets this author. SHARE keeps the author from being renamed before the skill is committed:
-- whoever renames the author then finds the skill.
-- Example: author_id = :user_id
SELECT coalesce(
    (
        SELECT u.id
        FROM users AS u
        WHERE u.tenant_id = %(tenant_id)s AND u.id = %(author_id)s AND u.deleting_since IS NULL
        FOR SHARE
    ),
    raise_not_found('user', %(author_id)s)
) AS id;

-- name: lock_authors(user_ids)
-- Works like lock_author for many users, in id order. The ids must be distinct.
WITH locked AS (
    SELECT u.id
    FROM users AS u
    WHERE u.tenant_id = %(tenant_id)s AND u.id = ANY(%(user_ids)s::text[]) AND u.deleting_since IS NULL
    ORDER BY u.id
    FOR SHARE
)

SELECT
    CASE
        WHEN (SELECT count(*) FROM locked) < cardinality(%(user_ids)s::text[])
            THEN raise_not_found(
                'user',
                (
                    SELECT min(w.id) FROM unnest(%(user_ids)s::text[]) AS w (id)
                    WHERE NOT EXISTS (
                        SELECT FROM locked
                        WHERE locked.id = w.id
                    )
                )
            )
    END AS missing;

-- name: lock_skills_of_author(user_id)
-- Take this after the author was locked and renamed, before index_skills_of_author.
SELECT s.id
FROM skills AS s
WHERE s.tenant_id = %(tenant_id)s AND s.author_id = %(user_id)s
ORDER BY s.id
FOR NO KEY UPDATE;

-- name: lock_skills(skill_ids)
-- Lock many skills, in id order. The ids must be distinct.
WITH locked AS (
    SELECT s.id
    FROM skills AS s
    WHERE s.tenant_id = %(tenant_id)s AND s.id = ANY(%(skill_ids)s::text[])
    ORDER BY s.id
    FOR NO KEY UPDATE
)

SELECT
    CASE
        WHEN (SELECT count(*) FROM locked) < cardinality(%(skill_ids)s::text[])
            THEN raise_not_found(
                'skill',
                (
                    SELECT min(w.id) FROM unnest(%(skill_ids)s::text[]) AS w (id)
                    WHERE NOT EXISTS (
                        SELECT FROM locked
                        WHERE locked.id = w.id
                    )
                )
            )
    END AS missing;

-- name: check_skill_version(skill_id, skill_version_id)
-- The foreign key only requires a version of the organisation. This query requires a version of the skill.
-- Example: skill_version_id = :version_id
SELECT
    CASE
        WHEN %(skill_version_id)s::text IS NOT NULL AND NOT EXISTS (
            SELECT
            FROM skill_versions AS v
            WHERE v.tenant_id = %(tenant_id)s AND v.skill_id = %(skill_id)s AND v.id = %(skill_version_id)s
        ) THEN raise_not_found('version', %(skill_version_id)s)
    END AS missing;
